"""The pipelines of one release. Calls go to the least busy healthy pipeline."""

import asyncio
import os
import shutil
import time
from pathlib import Path
from tempfile import gettempdir, mkdtemp

from recmesh.errors import Unavailable
from recmesh.pb.pipeline_service_pb2 import Request, Response
from recmesh.releases import Manifest, ReferenceRequest
from services.rank.paddle_serving import config
from services.rank.paddle_serving.plan import Plan
from services.rank.paddle_serving.settings import PaddleServingSettings
from services.rank.paddle_serving.supervisor import SupervisedPipeline

_POLL_SECONDS = 0.05
_DRAIN_SECONDS = 2.0
_FOLDER_PREFIX = "recmesh-ps-"


def remove_stale_folders() -> None:
    """Remove the files of gateways that were killed.

    Call this before the first `Fleet` is created: in a restarted container, this process may have the process id of
    the killed gateway.
    """
    for folder in Path(gettempdir()).glob(f"{_FOLDER_PREFIX}*-*"):
        owner = folder.name.removeprefix(_FOLDER_PREFIX).partition("-")[0]
        if owner == str(os.getpid()) or not Path("/proc", owner).exists():
            shutil.rmtree(folder, ignore_errors=True)


class Fleet:
    """Starts and stops the pipelines of a release."""

    def __init__(self, manifest: Manifest, release: Path, settings: PaddleServingSettings) -> None:
        """Prepare the files of the pipelines.

        Args:
            manifest: Of the release.
            release: The folder of the release.
            settings: Of the gateway.

        Raises:
            ReleaseError: The release is too old to be served by Paddle Serving.
        """
        reference = ReferenceRequest.load(release)
        # The path must be short, because it is part of the addresses of sockets.
        self._folder = Path(mkdtemp(prefix=f"{_FOLDER_PREFIX}{os.getpid()}-"))
        config.write_model_folder(manifest, release, self._folder / "model")
        self._pipelines: list[SupervisedPipeline] = []
        for number in range(settings.paddle_serving_concurrency):
            folder = self._folder / str(number)
            folder.mkdir()

            def plan_at(address: str, number: int = number) -> Plan:
                return config.plan(manifest, self._folder / "model", address, number, settings)

            self._pipelines.append(SupervisedPipeline(plan_at, folder, reference, settings.paddle_serving_tolerance))
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def healthy(self) -> list[SupervisedPipeline]:
        """The pipelines that can be called."""
        return [pipeline for pipeline in self._pipelines if not pipeline.fault]

    async def start(self) -> None:
        """Start all pipelines, and wait until each gives the recorded scores for the reference request.

        Raises:
            Unavailable: A pipeline failed to start; the message gives its reason.
        """
        self._tasks = [asyncio.create_task(pipeline.run()) for pipeline in self._pipelines]
        while len(self.healthy) < len(self._pipelines):
            for pipeline in self._pipelines:
                if pipeline.failed_to_start:
                    raise Unavailable(f"a pipeline failed to start: {pipeline.fault}")
            await asyncio.sleep(_POLL_SECONDS)

    async def stop(self) -> None:
        """End the processes of all pipelines once the calls in flight have ended, and remove their files."""
        limit = time.monotonic() + _DRAIN_SECONDS
        while any(pipeline.in_flight for pipeline in self._pipelines) and time.monotonic() < limit:  # noqa: ASYNC110 - rare
            await asyncio.sleep(_POLL_SECONDS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def check(self) -> None:
        """Return if a pipeline can be called.

        Raises:
            Unavailable: None can; the message gives the reason of the first.
        """
        if not self.healthy:
            raise Unavailable(f"no pipeline answers the reference request: {self._pipelines[0].fault}")

    async def infer(self, request: Request, timeout: float) -> Response:
        """The answer of the least busy pipeline.

        Raises:
            RecmeshError: There was no answer within `timeout` seconds.
        """
        self.check()
        return await min(self.healthy, key=lambda pipeline: pipeline.in_flight).infer(request, timeout)
