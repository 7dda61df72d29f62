"""A circuit breaker: requests do not wait for a backend that has just failed."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from recmesh.errors import RecmeshError
from recmesh.serving import metrics
from recmesh.throttle import LogThrottle

_MAX_FAILURES = 3
_PROBE_INTERVAL_SECONDS = 0.5

log = structlog.get_logger(__name__)


class Breaker:
    """Opens after several consecutive failures, and closes once a probe of the backend succeeds.

    While it is closed, requests go to the backend. While it is open they do not, and the breaker probes the backend in
    the background, at most once per interval. Only requests trigger probes.
    """

    def __init__(self, backend: str, probe: Callable[[], Awaitable[None]]) -> None:
        """Start closed.

        Args:
            backend: Name in logs and metrics.
            probe: Returns if the backend answers correctly; raises a RecmeshError otherwise.
        """
        self._backend = backend
        self._probe = probe
        self._failures = 0
        self._open = False
        self._faults = LogThrottle()
        self._next_probe = 0.0
        self._probing: asyncio.Task[None] | None = None

    def allows(self) -> bool:
        """Whether the current request may go to the backend."""
        if self._open and self._probing is None and time.monotonic() >= self._next_probe:
            self._probing = asyncio.create_task(self._probe_backend())
        return not self._open

    def failed(self, error: RecmeshError) -> None:
        """Report that a request failed."""
        self._failures += 1
        if self._failures >= _MAX_FAILURES:
            self.open(str(error))

    def succeeded(self) -> None:
        """Report that a request or a probe succeeded."""
        self._failures = 0
        if self._open:
            self._open = False
            metrics.BACKEND_OPEN.labels(self._backend).set(0)
            if line := self._faults.over():
                log.info("circuit breaker closed", backend=self._backend, seconds=line.seconds)

    def open(self, reason: str) -> None:
        """Keep requests from the backend until a probe succeeds."""
        if not self._open:
            self._open = True
            metrics.BACKEND_OPEN.labels(self._backend).set(1)
            if line := self._faults.due():
                log.warning("circuit breaker opened", backend=self._backend, reason=reason, attempts=line.events)
        self._next_probe = time.monotonic() + _PROBE_INTERVAL_SECONDS

    async def _probe_backend(self) -> None:
        try:
            await self._probe()
            self.succeeded()
        except RecmeshError:
            self._next_probe = time.monotonic() + _PROBE_INTERVAL_SECONDS
        finally:
            self._probing = None
