"""One pipeline of a release, kept running: replaced when it dies, or answers the reference wrongly or not at all."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from recmesh.errors import RecmeshError, Unavailable
from recmesh.pb.pipeline_service_pb2 import Request, Response
from recmesh.releases import ReferenceRequest
from recmesh.serving import metrics
from recmesh.serving.deadline import within
from services.rank.paddle_serving import process, wire
from services.rank.paddle_serving.plan import Plan
from services.rank.paddle_serving.process import PipelineProcess

_START_SECONDS = 120.0
_START_POLL = 0.05
_CANARY_INTERVAL = 1.0
_CANARY_SECONDS = 1.0
_CANARIES_TO_FAIL = 2
_REST, _LONGEST_REST = 0.2, 10.0

log = structlog.get_logger(__name__)


class Pipeline:
    """Calls a pipeline process while it is well, and has it replaced while it is not.

    Args:
        plan_at: the plan for an address.
        folder: of its own, for its files and its sockets.
        reference: what it is asked when it starts, and every second.
        tolerance: see `ReferenceRequest.check`.
    """

    def __init__(
        self, plan_at: Callable[[str], Plan], folder: Path, reference: ReferenceRequest, tolerance: float
    ) -> None:
        self.in_flight = 0
        self.fault = "it starts"
        """Why it cannot be used now; empty while it can."""
        self.failed_to_start = False
        """Whether its first life ended before it could be used."""
        self._plan_at = plan_at
        self._folder = folder
        self._reference = reference
        self._question = wire.make_request("", reference.inputs)
        self._tolerance = tolerance
        self._process: PipelineProcess | None = None
        self._lives = 0
        self._was_well = False
        self._answered_at = 0.0

    async def infer(self, request: Request, timeout: float) -> Response:
        """See `PipelineProcess.infer`."""
        if self._process is None:
            raise Unavailable(f"pipeline: {self.fault}")
        self.in_flight += 1
        try:
            response = await self._process.infer(request, timeout)
        finally:
            self.in_flight -= 1
        self._answered_at = time.monotonic()
        return response

    async def run(self) -> None:
        """Keep it running for ever; the first failures follow each other quickly, later ones slowly."""
        rest = _REST
        while True:
            began = time.monotonic()
            try:
                await self._live()
            except RecmeshError as error:
                self.fault = str(error)
            self.failed_to_start |= not self._was_well
            log.warning("pipeline is replaced", pipeline=str(self._folder), reason=self.fault)
            metrics.PIPELINE_RESTARTS.inc()
            rest = _REST if time.monotonic() - began > _LONGEST_REST else min(2 * rest, _LONGEST_REST)
            await asyncio.sleep(rest)

    async def _live(self) -> None:
        """One life. Raises RecmeshError that says what was wrong with it at its end."""
        self._lives += 1
        # A socket of its own, so that nothing of the life before can be mistaken for it.
        plan = self._plan_at(f"unix:{self._folder / str(self._lives)}")
        async with process.running(plan, self._folder) as life:
            await within(_START_SECONDS, "the start of a pipeline", self._start(life))
            self._process, self.fault, self._was_well = life, "", True
            try:
                await _first(_end(life), self._watch(life))
            finally:
                self._process = None

    async def _start(self, life: PipelineProcess) -> None:
        while True:
            try:
                answer = await life.infer(self._question, _CANARY_SECONDS)
            except RecmeshError as error:
                if life.ended:
                    raise Unavailable(await life.wait()) from error
                await asyncio.sleep(_START_POLL)
            else:
                self._reference.check(wire.read_response(answer), self._tolerance)
                return

    async def _watch(self, life: PipelineProcess) -> None:
        """Ask the reference until it fails. Under load it may be late: what answers others is not dead."""
        failures = 0
        while True:
            await asyncio.sleep(_CANARY_INTERVAL)
            asked_at = time.monotonic()
            try:
                answer = await life.infer(self._question, _CANARY_SECONDS)
            except RecmeshError as error:
                if self._answered_at > asked_at:
                    continue
                failures, self.fault = failures + 1, str(error)
                if failures >= _CANARIES_TO_FAIL:
                    raise
            else:
                self._reference.check(wire.read_response(answer), self._tolerance)
                failures, self.fault = 0, ""


async def _end(life: PipelineProcess) -> None:
    raise Unavailable(await life.wait())


async def _first(*endless: Awaitable[None]) -> None:
    """Run them until the first one raises, which this raises then."""
    tasks = [asyncio.ensure_future(one) for one in endless]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        done.pop().result()
    finally:
        for task in tasks:
            task.cancel()
