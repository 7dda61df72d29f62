"""Keeps one pipeline of a release running: restarts it when it dies, hangs, or gives wrong scores."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import structlog

from recmesh.errors import RecmeshError, Unavailable
from recmesh.pb.pipeline_service_pb2 import Request, Response
from recmesh.releases import ReferenceRequest
from recmesh.serving import metrics
from recmesh.serving.deadline import within
from recmesh.serving.logs import reason
from recmesh.throttle import LogThrottle
from services.rank.paddle_serving import process, wire
from services.rank.paddle_serving.plan import Plan
from services.rank.paddle_serving.process import PipelineProcess

_MAX_START_SECONDS = 120.0
_START_POLL_SECONDS = 0.05
_PROBE_INTERVAL_SECONDS = 1.0
_PROBE_TIMEOUT_SECONDS = 1.0
_MAX_PROBE_FAILURES = 2
_MIN_RESTART_DELAY_SECONDS, _MAX_RESTART_DELAY_SECONDS = 0.2, 10.0

log = structlog.get_logger(__name__)


class SupervisedPipeline:
    """Calls a pipeline process while it is healthy, and restarts it when it is not.

    Attributes:
        in_flight: Number of calls in flight.
        fault: Why the pipeline cannot be called; empty if it can.
        failed_to_start: Whether the first process ended before it was healthy.
    """

    def __init__(
        self, plan_at: Callable[[str], Plan], folder: Path, reference: ReferenceRequest, tolerance: float
    ) -> None:
        """Start nothing yet; `run` starts the process.

        Args:
            plan_at: The plan for an address.
            folder: For the files and sockets of this pipeline only.
            reference: Sent at the start of a process, and every second.
            tolerance: See `ReferenceRequest.check`.
        """
        self.in_flight = 0
        self.fault = "it is starting"
        self.failed_to_start = False
        self._plan_at = plan_at
        self._folder = folder
        self._reference = reference
        self._reference_request = wire.make_request("", reference.inputs)
        self._tolerance = tolerance
        self._process: PipelineProcess | None = None
        self._processes_started = 0
        self._was_healthy = False
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
        """Keep a process running until cancelled. The delay before a restart doubles with each early failure."""
        delay, faults = _MIN_RESTART_DELAY_SECONDS, LogThrottle()
        while True:
            started = time.monotonic()
            try:
                await self._run_process()
            except Exception as error:  # noqa: BLE001 - whatever the process answered, another one takes its place
                self.fault = reason(error)
            self.failed_to_start |= not self._was_healthy
            if line := faults.due(reason=self.fault):
                log.warning(
                    "pipeline is restarted",
                    pipeline=str(self._folder),
                    reason=self.fault,
                    attempts=line.events,
                    seconds=line.seconds,
                )
            metrics.PIPELINE_RESTARTS.inc()
            ran_long = time.monotonic() - started > _MAX_RESTART_DELAY_SECONDS
            delay = _MIN_RESTART_DELAY_SECONDS if ran_long else min(2 * delay, _MAX_RESTART_DELAY_SECONDS)
            await asyncio.sleep(delay)

    async def _run_process(self) -> None:
        """Run one process until it fails.

        Raises:
            RecmeshError: Always, with the reason.
        """
        self._processes_started += 1
        # Each process has its own socket, so that it cannot be confused with the one before.
        plan = self._plan_at(f"unix:{self._folder / str(self._processes_started)}")
        async with process.running(plan, self._folder) as started:
            await within(_MAX_START_SECONDS, "a starting pipeline", self._wait_until_healthy(started))
            self._process, self.fault, self._was_healthy = started, "", True
            try:
                await _until_first_error(_end_of(started), self._probe(started))
            finally:
                self._process = None

    async def _wait_until_healthy(self, started: PipelineProcess) -> None:
        while True:
            try:
                answer = await started.infer(self._reference_request, _PROBE_TIMEOUT_SECONDS)
            except RecmeshError as error:
                if started.ended:
                    raise Unavailable(await started.wait()) from error
                await asyncio.sleep(_START_POLL_SECONDS)
            else:
                self._reference.check(wire.read_response(answer), self._tolerance)
                return

    async def _probe(self, running: PipelineProcess) -> None:
        """Send the reference request every second until it fails.

        Under load the answer may be late. A process that meanwhile answers other requests has not failed.
        """
        failures = 0
        while True:
            await asyncio.sleep(_PROBE_INTERVAL_SECONDS)
            sent_at = time.monotonic()
            try:
                answer = await running.infer(self._reference_request, _PROBE_TIMEOUT_SECONDS)
            except RecmeshError as error:
                if self._answered_at > sent_at:
                    continue
                failures, self.fault = failures + 1, str(error)
                if failures >= _MAX_PROBE_FAILURES:
                    raise
            else:
                self._reference.check(wire.read_response(answer), self._tolerance)
                failures, self.fault = 0, ""


async def _end_of(running: PipelineProcess) -> None:
    raise Unavailable(await running.wait())


async def _until_first_error(*endless: Coroutine[Any, Any, None]) -> None:
    """Run coroutines that end only by an error, until the first one does; raise its error."""
    tasks = [asyncio.create_task(coroutine) for coroutine in endless]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        done.pop().result()
    finally:
        for task in tasks:
            task.cancel()
