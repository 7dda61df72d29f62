"""grpc.health.v1 for one port: SERVING only while the service's check passes."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as health_aio

from recmesh.errors import RecmeshError
from recmesh.serving import metrics
from recmesh.serving.deadline import within

Check = Callable[[], Awaitable[None]]

LIVE = "live"
"""Health answers SERVING for this name as long as the process is able to answer, whatever the service waits for."""

_CHECK_TIMEOUT = 1.0
_INTERVAL = 1.0
_START_INTERVAL = 0.1
_FAILURES_TO_TURN = 2

log = structlog.get_logger(__name__)


class Health:
    """Follows a check: the service serves from its first success, until it fails twice in a row.

    Args:
        service: name in logs and metrics.
        names: the names that health answers for: the empty one and the gRPC service's.
        check: returns when the service can answer; raises a RecmeshError that says what is missing.
    """

    def __init__(self, service: str, names: Sequence[str], check: Check) -> None:
        self.servicer = health_aio.HealthServicer()
        self._service = service
        self._names = names
        self._check = check
        self._serving = False
        self._reason = ""

    async def run(self) -> None:
        """Check for ever."""
        failures = _FAILURES_TO_TURN
        await self.servicer.set(LIVE, health_pb2.HealthCheckResponse.SERVING)
        await self._announce(False, "starting")
        while True:
            try:
                await within(_CHECK_TIMEOUT, "check", self._check())
                failures = 0
                await self._announce(True, "")
            except RecmeshError as error:
                failures += 1
                if failures >= _FAILURES_TO_TURN:
                    await self._announce(False, str(error))
            await asyncio.sleep(_INTERVAL if self._serving else _START_INTERVAL)

    async def leave(self) -> None:
        """NOT_SERVING from now on."""
        await self.servicer.enter_graceful_shutdown()
        metrics.SERVING.labels(self._service).set(0)

    async def _announce(self, serving: bool, reason: str) -> None:
        if (serving, reason) == (self._serving, self._reason) and reason != "starting":
            return
        self._serving, self._reason = serving, reason
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in self._names:
            await self.servicer.set(name, status)
        metrics.SERVING.labels(self._service).set(int(serving))
        if serving:
            log.info("serving", service=self._service)
        else:
            log.warning("not serving", service=self._service, reason=reason)


def every(*checks: Check) -> Check:
    """Passes when all do."""

    async def check() -> None:
        for one in checks:
            await one()

    return check


def once(check: Check) -> Check:
    """Passes for good after its first success: for what a service needs to start, and can answer without later."""
    passed = False

    async def checked() -> None:
        nonlocal passed
        if not passed:
            await check()
            passed = True

    return checked
