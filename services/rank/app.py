"""The endpoint of rank, which `python -m services.rank` and compact serve."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np

from recmesh.contract import MAX_STAGE_REQUEST_BYTES
from recmesh.features import Encoder
from recmesh.pb import rank_pb2
from recmesh.releases import Manifest, ModelStore
from recmesh.serving import Endpoint, background
from recmesh.serving.compute_gate import ComputeGate
from recmesh.serving.health import Check
from recmesh.serving.models import UnknownValues, UserFeatureCache
from recmesh.serving.rpc import Method
from recmesh.serving.stages import ANONYMOUS
from recmesh.serving.warm import WarmReleases
from services.rank.backend import Backend
from services.rank.backends import open_backends
from services.rank.core import RankCore, RankRelease
from services.rank.servicer import RankServicer
from services.rank.settings import RankSettings


def endpoint(port: int, core: RankCore, check: Check) -> Endpoint:
    """RankService on a port."""
    descriptor = rank_pb2.DESCRIPTOR.services_by_name["RankService"]
    methods: dict[str, Method] = {"rank_predict": RankServicer(core).rank_predict}
    return Endpoint("rank", port, descriptor, methods, check, MAX_STAGE_REQUEST_BYTES, core.congestion)


def warmed(
    encoder: Encoder, user_features: UserFeatureCache, unknown_values: UnknownValues, backend: Backend
) -> RankRelease:
    """A release with a loaded encoder, warmed up by one run of every part in this process."""
    user, vector = user_features.encode(ANONYMOUS)
    items = np.arange(min(len(encoder.catalogue), encoder.spec.candidates), dtype=np.int32)
    backend.warm(encoder.ranker_inputs(user, items, False, (), vector))
    return RankRelease(encoder, user_features, unknown_values, backend)


async def _ready(release: RankRelease) -> None:
    await release.backend.ready()


@asynccontextmanager
async def build(settings: RankSettings) -> AsyncIterator[Sequence[Endpoint]]:
    """Serve rank with the active release."""
    gate = ComputeGate()
    async with open_backends(settings, gate) as backends:

        def load(folder: Path, manifest: Manifest) -> RankRelease:
            encoder = Encoder.load(folder)
            unknown_values = UnknownValues("rank", encoder)
            return warmed(encoder, UserFeatureCache(encoder, folder), unknown_values, backends(folder, manifest))

        store = ModelStore(settings.model_store)
        releases = WarmReleases("rank", store, settings.releases, load, _ready)
        async with background(releases.follow(settings.release_poll)):
            yield [endpoint(settings.rank_port, RankCore(releases, gate), releases.check)]
