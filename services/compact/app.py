"""All five endpoints around one copy of everything: one Redis pool, one release, one event loop."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, TypeVar

from recmesh.chain.chain import Chain
from recmesh.chain.popular import PopularList
from recmesh.features import Encoder
from recmesh.releases import Manifest, ModelStore
from recmesh.serving import Endpoint, background
from recmesh.serving.compute_gate import ComputeGate
from recmesh.serving.health import every
from recmesh.serving.milvus import open_milvus
from recmesh.serving.models import UnknownValues, UserFeatureCache
from recmesh.serving.redis import open_redis
from recmesh.serving.tracing import Tracer
from recmesh.serving.warm import WarmReleases
from recmesh.stores.milvus import MilvusReader
from services.cm import app as cm_app
from services.cm.core import CmCore
from services.compact.settings import CompactSettings
from services.rank import app as rank_app
from services.rank.backends import Backends, open_backends
from services.rank.core import RankCore, RankRelease
from services.recall import app as recall_app
from services.recall.core import RecallCore, RecallRelease
from services.um import app as um_app
from services.um.core import UmCore

# `as` is a keyword.
as_app: Any = import_module("services.as.app")

# recall and rank of one request follow each other: this many requests may be between the two.
_CACHED_USERS = 256

P = TypeVar("P", RecallRelease, RankRelease)


@dataclass(frozen=True)
class Shared:
    """One release, loaded once for recall and rank."""

    recall: RecallRelease
    rank: RankRelease


class Part(Generic[P]):
    """What one service sees of the shared releases."""

    def __init__(self, releases: WarmReleases[Shared], select: Callable[[Shared], P]) -> None:
        self._releases = releases
        self._select: Callable[[Shared], P] = select

    def get(self, release: str = "") -> tuple[str, P]:
        """See `WarmReleases.get`."""
        release_id, shared = self._releases.get(release)
        return release_id, self._select(shared)


def loader(milvus: MilvusReader, gate: ComputeGate, backends: Backends) -> Callable[[Path, Manifest], Shared]:
    """Loads a release once for both."""

    def load(folder: Path, manifest: Manifest) -> Shared:
        encoder = Encoder.load(folder)
        user_features, unknown_values = (
            UserFeatureCache(encoder, folder, _CACHED_USERS),
            UnknownValues("compact", encoder),
        )
        return Shared(
            RecallRelease.warmed(manifest, encoder, user_features, unknown_values, milvus, gate),
            rank_app.warmed(encoder, user_features, unknown_values, backends(folder, manifest)),
        )

    return load


async def _ready(shared: Shared) -> None:
    await shared.rank.backend.ready()


@asynccontextmanager
async def build(settings: CompactSettings, tracer: Tracer) -> AsyncIterator[Sequence[Endpoint]]:
    """The five endpoints, and the chain over their cores."""
    async with AsyncExitStack() as stack:
        redis, redis_check = await stack.enter_async_context(open_redis(settings))
        milvus = await stack.enter_async_context(open_milvus(settings.milvus_uri))
        gate = ComputeGate(beside=True)
        backends = await stack.enter_async_context(open_backends(settings, gate))
        store, load = ModelStore(settings.model_store), loader(milvus, gate, backends)
        releases = WarmReleases("compact", store, settings.releases, load, _ready)

        um, cm = UmCore(redis), CmCore(redis)
        recall = RecallCore(Part(releases, lambda shared: shared.recall), gate, settings.channel_timeout)
        rank = RankCore(Part(releases, lambda shared: shared.rank), gate)
        popular = PopularList(recall)
        chain = Chain(um, recall, rank, cm, popular, settings.candidates, tracer)

        await stack.enter_async_context(background(releases.follow(settings.release_poll)))
        await stack.enter_async_context(background(popular.follow(settings.popular_refresh)))
        recall_check = recall_app.ready(releases.check, milvus)
        yield [
            um_app.endpoint(settings.um_port, um, redis_check),
            cm_app.endpoint(settings.cm_port, cm, redis_check),
            recall_app.endpoint(settings.recall_port, recall, recall_check),
            rank_app.endpoint(settings.rank_port, rank, releases.check),
            as_app.endpoint(settings.as_port, chain, every(popular.check, recall_check)),
        ]
