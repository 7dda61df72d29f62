"""Creates the backend of each release, as RECMESH_RANK_BACKEND says."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from recmesh.features import FeatureSpec
from recmesh.features.encoder import FEATURES, SPEC
from recmesh.releases import Manifest, ReferenceRequest
from recmesh.serving.channels import open_channel
from recmesh.serving.compute_gate import ComputeGate
from services.rank.backend import Backend, CountsBackend, OnnxBackend
from services.rank.paddle_serving.client import PaddleServing
from services.rank.remote import RemoteBackend, RemoteOptions
from services.rank.settings import RankSettings

Backends = Callable[[Path, Manifest], Backend]
"""Creates the backend of a release from its folder and its manifest. Called in a thread."""


@asynccontextmanager
async def open_backends(settings: RankSettings, gate: ComputeGate) -> AsyncIterator[Backends]:
    """A factory of backends for the lifetime of the service.

    Args:
        settings: Choose the backend.
        gate: Runs the ranker in this process.
    """

    def local(folder: Path, manifest: Manifest) -> Backend:
        if manifest.starter:
            return CountsBackend(FeatureSpec.load(folder / FEATURES / SPEC))
        return OnnxBackend(folder, gate)

    if settings.rank_backend == "onnx":
        yield local
        return
    options = RemoteOptions(
        timeout=settings.paddle_serving_timeout,
        wait=settings.paddle_serving_wait,
        tolerance=settings.paddle_serving_tolerance,
        optional=settings.rank_backend == "auto",
    )
    async with open_channel(settings.paddle_serving_target, settings.tls) as channel:
        remote = PaddleServing(channel, settings.paddle_serving_target)

        def create(folder: Path, manifest: Manifest) -> Backend:
            if manifest.starter:
                return local(folder, manifest)
            reference = ReferenceRequest.load(folder) if manifest.ranker else None
            return RemoteBackend(manifest.id, reference, remote, local(folder, manifest), options)

        yield create
