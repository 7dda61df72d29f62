"""The pipelines of one release: calls are spread over those that are well."""

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
from services.rank.paddle_serving.keeper import Pipeline
from services.rank.paddle_serving.plan import Plan
from services.rank.paddle_serving.settings import PaddleServingSettings

_POLL = 0.05
_DRAIN_SECONDS = 2.0
_FOLDER = "recmesh-ps-"


def remove_left_over() -> None:
    """Remove the files of gateways that were killed. To be called before the first Fleet: in a container that was
    started again, this process has the id of the one before."""
    for folder in Path(gettempdir()).glob(f"{_FOLDER}*-*"):
        owner = folder.name.removeprefix(_FOLDER).partition("-")[0]
        if owner == str(os.getpid()) or not Path("/proc", owner).exists():
            shutil.rmtree(folder, ignore_errors=True)


class Fleet:
    """Starts and stops the pipelines of a release.

    Args:
        manifest: of the release.
        release: its folder.
    """

    def __init__(self, manifest: Manifest, release: Path, settings: PaddleServingSettings) -> None:
        reference = ReferenceRequest.load(release)
        # A short path: the sockets are in it.
        self._folder = Path(mkdtemp(prefix=f"{_FOLDER}{os.getpid()}-"))
        config.lay_out(manifest, release, self._folder / "model")
        self._pipelines = []
        for number in range(settings.paddle_serving_concurrency):
            folder = self._folder / str(number)
            folder.mkdir()

            def plan_at(address: str, number: int = number) -> Plan:
                return config.plan(manifest, self._folder / "model", address, number, settings)

            self._pipelines.append(Pipeline(plan_at, folder, reference, settings.paddle_serving_tolerance))
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def well(self) -> list[Pipeline]:
        """The pipelines that can be called."""
        return [one for one in self._pipelines if not one.fault]

    async def start(self) -> None:
        """Start all pipelines, and wait until each has answered the reference rightly.

        Raises Unavailable with the first one's reason when it fails.
        """
        self._tasks = [asyncio.create_task(one.run()) for one in self._pipelines]
        while len(self.well) < len(self._pipelines):
            for one in self._pipelines:
                if one.failed_to_start:
                    raise Unavailable(f"a pipeline does not start: {one.fault}")
            await asyncio.sleep(_POLL)

    async def stop(self) -> None:
        """End all pipelines, whole, once the calls in flight have ended, and remove their files."""
        limit = time.monotonic() + _DRAIN_SECONDS
        while any(one.in_flight for one in self._pipelines) and time.monotonic() < limit:  # noqa: ASYNC110 - once a release
            await asyncio.sleep(_POLL)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def check(self) -> None:
        """Raises Unavailable, with the reason, when no pipeline can be called."""
        if not self.well:
            raise Unavailable(f"no pipeline answers the reference: {self._pipelines[0].fault}")

    async def infer(self, request: Request, timeout: float) -> Response:
        """The answer of the pipeline that has least to do. Raises RecmeshError where none comes in time."""
        self.check()
        return await min(self.well, key=lambda one: one.in_flight).infer(request, timeout)
