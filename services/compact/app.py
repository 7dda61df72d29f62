"""The five endpoints around shared resources: one Redis pool, one copy of each release, and one event loop."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from recmesh.chain import servicer as chain_servicer
from recmesh.chain.active_rules import ActiveRules
from recmesh.chain.answer_log import open_answer_log
from recmesh.chain.chain import Chain
from recmesh.chain.popular import PopularList
from recmesh.features import Encoder
from recmesh.features.encoder import FEATURES
from recmesh.releases import Manifest, ModelStore
from recmesh.retrieval.scenarios import Scenarios
from recmesh.serving import Endpoint, background, ingestion_facts, shown_facts
from recmesh.serving.compute_gate import ComputeGate
from recmesh.serving.health import every
from recmesh.serving.milvus import open_milvus
from recmesh.serving.models import UnknownValues, UserFeatureCache, item_tower
from recmesh.serving.redis import open_redis
from recmesh.serving.warm import WarmReleases
from recmesh.stores.milvus import MilvusReader
from recmesh.throttle import LogThrottle
from services.cm import app as cm_app
from services.cm.core import CmCore
from services.compact.settings import CompactSettings
from services.rank import app as rank_app
from services.rank.backends import Backends, open_backends
from services.rank.core import RankCore, RankRelease
from services.recall import app as recall_app
from services.recall import item_fields, new_items, trending
from services.recall.core import RecallCore, RecallRelease
from services.recall.live_items import LiveItems
from services.recall.new_items import LatestNewItems
from services.recall.trending import LiveCounts, Trending
from services.um import app as um_app
from services.um.core import UmCore

# Between recall and rank of one request, up to this many other requests may run recall.
_CACHED_USERS = 256

P = TypeVar("P", RecallRelease, RankRelease)


@dataclass(frozen=True)
class SharedRelease:
    """One release, loaded once for recall and rank."""

    recall: RecallRelease
    rank: RankRelease


class ReleasesOf(Generic[P]):
    """The part of the shared releases that one service uses: a `recmesh.serving.warm.Releases`."""

    def __init__(self, releases: WarmReleases[SharedRelease], select: Callable[[SharedRelease], P]) -> None:
        """Take a part of each release.

        Args:
            releases: The shared releases.
            select: Takes the part from a release.
        """
        self._releases = releases
        self._select: Callable[[SharedRelease], P] = select

    def get(self, release: str = "") -> tuple[str, P]:
        """See `WarmReleases.get`."""
        release_id, shared = self._releases.get(release)
        return release_id, self._select(shared)


def loader(
    milvus: MilvusReader, gate: ComputeGate, backends: Backends, live: LiveItems, counts: LiveCounts
) -> Callable[[Path, Manifest], SharedRelease]:
    """A function that loads a release from its folder and its manifest."""

    def load(folder: Path, manifest: Manifest) -> SharedRelease:
        encoder = Encoder.load(folder)
        user_features = UserFeatureCache(encoder, folder, _CACHED_USERS)
        unknown_values = UnknownValues("compact", encoder)
        items = LatestNewItems(encoder, live, item_tower(folder))
        return SharedRelease(
            RecallRelease.warmed(
                manifest,
                encoder,
                user_features,
                unknown_values,
                milvus,
                gate,
                items,
                Scenarios.load(folder / FEATURES, len(encoder.catalogue)),
                Trending(encoder, items, counts),
            ),
            rank_app.warmed(encoder, user_features, unknown_values, backends(folder, manifest)),
        )

    return load


def _export(release: SharedRelease) -> None:
    release.recall.drift.export()


@asynccontextmanager
async def build(settings: CompactSettings) -> AsyncIterator[Sequence[Endpoint]]:
    """Serve the five endpoints, with a chain that calls the cores of the services."""
    async with AsyncExitStack() as stack:
        redis, redis_check = await stack.enter_async_context(open_redis(settings))
        milvus = await stack.enter_async_context(open_milvus(settings))
        gate = ComputeGate(model_thread=True)
        backends = await stack.enter_async_context(open_backends(settings, gate))
        store, live, counts = ModelStore(settings.model_store), LiveItems(), LiveCounts()
        load, field_faults = loader(milvus, gate, backends, live, counts), LogThrottle()

        async def ready(release: SharedRelease) -> None:
            await item_fields.try_refresh(release.recall.item_fields, redis, field_faults)
            await release.rank.backend.ready()

        releases = WarmReleases("compact", store, settings.releases, load, ready, _export)

        um, cm = UmCore(redis), CmCore(redis)
        recall_releases = ReleasesOf(releases, lambda release: release.recall)
        recall = RecallCore(recall_releases, gate, settings.channel_timeout)
        rank = RankCore(ReleasesOf(releases, lambda release: release.rank), gate)
        popular, rules = PopularList(recall), ActiveRules()
        chain = Chain(um, recall, rank, cm, popular, settings.candidates, rules=rules)

        await stack.enter_async_context(background(releases.follow(settings.release_poll)))
        await stack.enter_async_context(background(new_items.follow(store, recall_releases, settings.release_poll)))
        await stack.enter_async_context(background(new_items.follow_live(redis, live, recall_releases)))
        await stack.enter_async_context(background(item_fields.follow(redis, recall_releases, field_faults)))
        await stack.enter_async_context(background(trending.follow(redis, counts, recall_releases)))
        await stack.enter_async_context(background(popular.follow(settings.popular_refresh)))
        await stack.enter_async_context(background(rules.follow(store, settings.rules_poll)))
        await stack.enter_async_context(background(ingestion_facts.follow(redis)))
        await stack.enter_async_context(background(shown_facts.follow(store)))
        log = await stack.enter_async_context(open_answer_log(settings))
        recall_check = recall_app.ready(recall_releases)
        yield [
            um_app.endpoint(settings.um_port, um, redis_check),
            cm_app.endpoint(settings.cm_port, cm, redis_check),
            recall_app.endpoint(settings.recall_port, recall, recall_check),
            rank_app.endpoint(settings.rank_port, rank, releases.check),
            chain_servicer.endpoint(
                settings.as_port, chain, every(popular.check, rules.check, recall_check), log, settings.as_http_port
            ),
        ]
