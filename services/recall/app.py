"""The endpoint of recall, which `python -m services.recall` and compact serve."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from recmesh.contract import MAX_STAGE_REQUEST_BYTES
from recmesh.features import Encoder
from recmesh.features.encoder import FEATURES
from recmesh.pb import recall_pb2
from recmesh.releases import Manifest, ModelStore
from recmesh.retrieval.scenarios import Scenarios
from recmesh.serving import Endpoint, background, shown_facts
from recmesh.serving.compute_gate import ComputeGate
from recmesh.serving.health import Check, once
from recmesh.serving.milvus import open_milvus
from recmesh.serving.models import UnknownValues, UserFeatureCache, item_tower
from recmesh.serving.redis import open_redis
from recmesh.serving.rpc import Method
from recmesh.serving.warm import Releases, WarmReleases
from recmesh.throttle import LogThrottle
from services.recall import item_fields, new_items, trending
from services.recall.core import RecallCore, RecallRelease
from services.recall.live_items import LiveItems
from services.recall.new_items import LatestNewItems
from services.recall.servicer import RecallServicer
from services.recall.settings import RecallSettings
from services.recall.trending import LiveCounts, Trending


def endpoint(port: int, core: RecallCore, check: Check) -> Endpoint:
    """recall.RecallService on a port."""
    descriptor = recall_pb2.DESCRIPTOR.services_by_name["RecallService"]
    methods: dict[str, Method] = {"recall": RecallServicer(core).recall}
    return Endpoint("recall", port, descriptor, methods, check, MAX_STAGE_REQUEST_BYTES, core.congestion)


def ready(releases: Releases[RecallRelease]) -> Check:
    """A check that requires a release, and Milvus at the start only: later, the other channels answer without it."""

    async def milvus_serves() -> None:
        _, release = releases.get()
        await release.milvus_serves()

    return once(milvus_serves)


@asynccontextmanager
async def build(settings: RecallSettings) -> AsyncIterator[Sequence[Endpoint]]:
    """Serve recall with Milvus, the active release, and what feed changes and counts in Redis."""
    async with open_milvus(settings) as milvus, open_redis(settings) as (redis, _):
        gate, live, counts = ComputeGate(), LiveItems(), LiveCounts()
        field_faults = LogThrottle()

        def load(folder: Path, manifest: Manifest) -> RecallRelease:
            encoder = Encoder.load(folder)
            user_features, unknown_values = UserFeatureCache(encoder, folder), UnknownValues("recall", encoder)
            items = LatestNewItems(encoder, live, item_tower(folder))
            scenarios = Scenarios.load(folder / FEATURES, len(encoder.catalogue))
            ranked = Trending(encoder, items, counts)
            return RecallRelease.warmed(
                manifest, encoder, user_features, unknown_values, milvus, gate, items, scenarios, ranked
            )

        store = ModelStore(settings.model_store)

        async def fields_read(release: RecallRelease) -> None:
            await item_fields.try_refresh(release.item_fields, redis, field_faults)

        releases = WarmReleases(
            "recall", store, settings.releases, load, fields_read, switched=lambda new: new.drift.export()
        )
        core = RecallCore(releases, gate, settings.channel_timeout)
        async with (
            background(releases.follow(settings.release_poll)),
            background(new_items.follow(store, releases, settings.release_poll)),
            background(new_items.follow_live(redis, live, releases)),
            background(item_fields.follow(redis, releases, field_faults)),
            background(trending.follow(redis, counts, releases)),
            background(shown_facts.follow(store)),
        ):
            yield [endpoint(settings.recall_port, core, ready(releases))]
