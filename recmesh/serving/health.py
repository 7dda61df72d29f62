"""The health service (grpc.health.v1) of one port: SERVING only while the service's check passes."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as health_aio

from recmesh.serving import metrics
from recmesh.serving.deadline import within
from recmesh.serving.logs import reason
from recmesh.throttle import LogThrottle

Check = Callable[[], Awaitable[None]]
"""Returns if the service can answer; raises a RecmeshError that says what is missing."""

LIVE = "live"
"""The health service answers SERVING for this name while the process runs, even if the service cannot answer."""

_CHECK_TIMEOUT_SECONDS = 1.0
_CHECK_INTERVAL_SECONDS = 1.0
_CHECK_INTERVAL_UNTIL_SERVING_SECONDS = 0.1
_MAX_FAILURES = 2

log = structlog.get_logger(__name__)


class Health:
    """Repeats a check. The status is SERVING from the first success until the check fails twice in a row.

    Attributes:
        leaving: Whether the service is about to end.
    """

    def __init__(self, service: str, names: Sequence[str], check: Check) -> None:
        """Start with the status NOT_SERVING; `run` updates it.

        Args:
            service: Name in logs and metrics.
            names: The names that clients may ask for: the empty one and the name of the gRPC service.
            check: See `Check`.
        """
        self.servicer = health_aio.HealthServicer()
        self._service = service
        self._names = names
        self._check = check
        self._serving = False
        self._outage = LogThrottle()
        self.leaving = False

    @property
    def serving(self) -> bool:
        """Whether the status is SERVING."""
        return self._serving and not self.leaving

    async def run(self) -> None:
        """Check until cancelled."""
        failures = _MAX_FAILURES
        await self.servicer.set(LIVE, health_pb2.HealthCheckResponse.SERVING)
        await self._publish(False)
        self._log(False, "starting")
        while True:
            try:
                await within(_CHECK_TIMEOUT_SECONDS, "check", self._check())
                failures = 0
                await self._announce(True)
            except Exception as error:  # noqa: BLE001 - a check that fails in an unexpected way has failed
                failures += 1
                if failures >= _MAX_FAILURES:
                    await self._announce(False, reason(error))
            await asyncio.sleep(_CHECK_INTERVAL_SECONDS if self._serving else _CHECK_INTERVAL_UNTIL_SERVING_SECONDS)

    async def leave(self) -> None:
        """Set the status to NOT_SERVING for good."""
        self.leaving = True
        await self.servicer.enter_graceful_shutdown()
        metrics.SERVING.labels(self._service).set(0)

    async def _announce(self, serving: bool, reason: str = "") -> None:
        if serving != self._serving:
            await self._publish(serving)
        self._log(serving, reason)

    async def _publish(self, serving: bool) -> None:
        self._serving = serving
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in self._names:
            await self.servicer.set(name, status)
        metrics.SERVING.labels(self._service).set(int(serving))

    def _log(self, serving: bool, reason: str) -> None:
        if serving:
            if line := self._outage.over():
                log.info("serving", service=self._service, seconds=line.seconds)
        elif line := self._outage.due(reason=reason):
            log.warning("not serving", service=self._service, reason=reason, attempts=line.events, seconds=line.seconds)


def every(*checks: Check) -> Check:
    """A check that passes if all of `checks` pass."""

    async def check_all() -> None:
        for check in checks:
            await check()

    return check_all


def once(check: Check) -> Check:
    """A check that passes for good after its first success: for dependencies that only the start requires."""
    passed = False

    async def checked() -> None:
        nonlocal passed
        if not passed:
            await check()
            passed = True

    return checked
