"""Admission of calls: how many may be in flight, and which ones are refused.

A server that accepts more than it can answer answers nobody in time. So the limit of calls in flight adapts: it falls
while work waits too long for its turn in this process, and rises while it does not. Waits for stores and other services
do not count: refusing calls would not make a frozen store answer.

The wait is judged as CoDel judges a queue (RFC 8289): by its minimum over an interval, because a burst that drains is
no congestion. What is too long depends on the time that callers allow. The limit is cut in proportion to the excess,
as a gradient limiter does, and grows by a tenth per interval.
"""

import asyncio
from collections.abc import Sequence

from recmesh.errors import Overloaded
from recmesh.serving import metrics

INTERVAL_SECONDS = 0.1
"""The limits adapt once in each interval."""

_LAGS_PER_INTERVAL = 2
# Enough to keep a core busy.
_MIN_LIMIT = 8
_LARGEST_CUT, _SMALLEST_CUT, _GROWTH = 0.5, 0.95, 1.1
# A call takes about five turns. With this wait at each of them, three quarters of its time are left.
_WAIT_SHARE = 0.05
_SMOOTHING = 0.05
_BATCH_SHARE = 0.7


class Shortest:
    """The shortest of the times that are reported in an interval."""

    def __init__(self) -> None:
        """Start without times."""
        self._shortest: float | None = None

    def add(self, seconds: float) -> None:
        """Report a time."""
        self._shortest = seconds if self._shortest is None else min(seconds, self._shortest)

    def take(self) -> float:
        """End an interval: the shortest time in it, in seconds; 0 if there was none."""
        shortest, self._shortest = self._shortest, None
        return shortest or 0.0


class Congestion:
    """What admission and computation in one process tell each other.

    Attributes:
        arrivals: Calls that gRPC has handed over.
        limited: Whether congestion has lowered the limit of a service.
    """

    def __init__(self) -> None:
        """Start without congestion."""
        self.arrivals = 0
        self.limited = False
        self._waits = Shortest()

    def waited(self, seconds: float) -> None:
        """Report how long a computation has waited for its turn."""
        self._waits.add(seconds)

    def standing_wait(self) -> float:
        """End an interval: the shortest wait for a computation in it, in seconds."""
        return self._waits.take()


class Refused(Overloaded):
    """A call that is refused before any work.

    Attributes:
        reason: Why, for metrics.
    """

    def __init__(self, reason: str, text: str) -> None:
        """Refuse a call for a reason, with a text for its caller."""
        super().__init__(text)
        self.reason = reason


class Load:
    """The calls in flight of one service, and the size of their requests, each with a limit."""

    def __init__(self, most: int, max_bytes: int, congestion: Congestion) -> None:
        """Start with no call in flight.

        Args:
            most: The largest number of calls, which congestion lowers.
            max_bytes: The largest sum of the sizes of their requests. A single call may exceed it.
            congestion: Of the process.
        """
        self.limit = float(most)
        self.in_flight = 0
        self.bytes = 0
        self._most = most
        self._max_bytes = max_bytes
        self._congestion = congestion
        self._patience = 0.0
        self._answers = Shortest()
        self._quickest = 0.0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def limited(self) -> bool:
        """Whether congestion has lowered the limit."""
        return self.limit < self._most

    def adapt(self, wait: float) -> None:
        """Adapt the limit at the end of an interval.

        Args:
            wait: The standing wait in the interval, in seconds.
        """
        # Without an answer in the interval the old time fades: refusals must not keep it alive.
        self._quickest = self._answers.take() or self._quickest / 2
        target = _WAIT_SHARE * self._patience
        if self._patience and wait > target:
            cut = min(max(target / wait, _LARGEST_CUT), _SMALLEST_CUT)
            self.limit = max(min(self.limit, self.in_flight) * cut, min(_MIN_LIMIT, self._most))
        else:
            self.limit = min(self.limit * _GROWTH, self._most)

    def has_room(self, *, batch: bool = False) -> bool:
        """Whether a call that has arrived may enter.

        Args:
            batch: Whether the caller can wait: such calls leave a part of the limit to others.
        """
        self._congestion.arrivals += 1
        return self.in_flight < max(1.0, self.limit * _BATCH_SHARE if batch else self.limit)

    def enter(self, size: int, seconds: float) -> None:
        """Count the start of a call.

        Args:
            size: Of its request, in bytes.
            seconds: The time that its caller allows.

        Raises:
            Refused: The time is too short, or the requests in flight are too large.
        """
        self._patience += _SMOOTHING * (seconds - self._patience) if self._patience else seconds
        if seconds < self._quickest:
            raise Refused(
                "late",
                f"{seconds * 1000:.0f} ms are left, and an answer takes {self._quickest * 1000:.0f} ms at least: "
                "allow more time, or retry later",
            )
        if self.in_flight and self.bytes + size > self._max_bytes:
            raise Refused(
                "bytes",
                f"the requests in flight have {self.bytes:,} of {self._max_bytes:,} bytes "
                "(RECMESH_MAX_BYTES_IN_FLIGHT): retry later",
            )
        self.in_flight += 1
        self.bytes += size
        self._idle.clear()

    def leave(self, size: int) -> None:
        """Count the end of a call with a request of this size."""
        self.in_flight -= 1
        self.bytes -= size
        if not self.in_flight:
            self._idle.set()

    def answered(self, seconds: float) -> None:
        """Report the time of an answer."""
        self._answers.add(seconds)

    async def idle(self) -> None:
        """Wait until no call is in flight."""
        await self._idle.wait()


def adapt(loads: Sequence[Load], congestion: Congestion, lag: float) -> None:
    """Adapt the limits of all services of a process at the end of an interval.

    Args:
        loads: One for each service.
        congestion: Of the process.
        lag: The standing wait on the event loop, in seconds.
    """
    wait = max(lag, congestion.standing_wait())
    for load in loads:
        load.adapt(wait)
    congestion.limited = any(load.limited for load in loads)


async def keep_adapting(loads: Sequence[Load], congestion: Congestion) -> None:
    """Measure the delay of timers on the event loop, and adapt the limits in each interval, until cancelled."""
    loop, lags = asyncio.get_running_loop(), Shortest()
    pause = INTERVAL_SECONDS / _LAGS_PER_INTERVAL
    while True:
        for _ in range(_LAGS_PER_INTERVAL):
            due = loop.time() + pause
            await asyncio.sleep(pause)
            lag = max(0.0, loop.time() - due)
            metrics.LOOP_LAG.set(lag)
            lags.add(lag)
        adapt(loads, congestion, lags.take())
