"""Spares requests the wait for a backend that failed lately."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from recmesh.errors import RecmeshError
from recmesh.serving import metrics

_FAILURES_TO_OPEN = 3
_PROBE_INTERVAL = 0.5

log = structlog.get_logger(__name__)


class Breaker:
    """Closed: requests go to the backend. Open, after several failures in a row: they do not, and every half second
    one of them has the backend probed beside it; the first probe that passes closes it.

    Args:
        backend: name in logs and metrics.
        probe: returns when the backend answers rightly; raises RecmeshError otherwise.
    """

    def __init__(self, backend: str, probe: Callable[[], Awaitable[None]]) -> None:
        self._backend = backend
        self._probe = probe
        self._failures = 0
        self._open = False
        self._next_probe = 0.0
        self._probing: asyncio.Task[None] | None = None

    def allows(self) -> bool:
        """Whether the request at hand may go to the backend."""
        if self._open and self._probing is None and time.monotonic() >= self._next_probe:
            self._probing = asyncio.create_task(self._half_open())
        return not self._open

    def failed(self, error: RecmeshError) -> None:
        """A request got no answer."""
        self._failures += 1
        if self._failures >= _FAILURES_TO_OPEN:
            self.open(str(error))

    def succeeded(self) -> None:
        """A request or a probe got a right answer."""
        self._failures = 0
        if self._open:
            self._open = False
            metrics.BACKEND_OPEN.labels(self._backend).set(0)
            log.info("backend is asked again", backend=self._backend)

    def open(self, reason: str) -> None:
        """No more requests until a probe passes."""
        if not self._open:
            self._open = True
            metrics.BACKEND_OPEN.labels(self._backend).set(1)
            log.warning("backend is not asked any more", backend=self._backend, reason=reason)
        self._next_probe = time.monotonic() + _PROBE_INTERVAL

    async def _half_open(self) -> None:
        try:
            await self._probe()
            self.succeeded()
        except RecmeshError:
            self._next_probe = time.monotonic() + _PROBE_INTERVAL
        finally:
            self._probing = None
