"""How often a lasting fault is logged: at once, then with growing pauses, and once more when it is over."""

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import NamedTuple

MAX_PAUSE_SECONDS = 300.0

_FIRST_PAUSE_SECONDS = 1.0
_RETURN_SECONDS = 10.0
_MAX_REASONS = 5


class Repeats(NamedTuple):
    """What a line stands for.

    Attributes:
        events: Number of failures: those since the line before, or all of a fault that is over.
        seconds: How long the fault has lasted.
    """

    events: int
    seconds: float


@dataclass(slots=True)
class _Fault:
    """A fault of one key.

    Attributes:
        since: When it began.
        latest: When it was seen last.
        next_line: When the next line is due.
        pause: Seconds from the next line to the one after it.
        lasts: Whether it is not over.
        logged: Whether there was a line since it began.
        unlogged: Failures since the last line.
        count: Failures since it began.
        reasons: The reasons of its lines.
    """

    since: float
    latest: float
    next_line: float
    pause: float = _FIRST_PAUSE_SECONDS
    lasts: bool = True
    logged: bool = False
    unlogged: int = 0
    count: int = 0
    reasons: set[str] = field(default_factory=set)


class LogThrottle:
    """Decides which failures are logged. The lines of a lasting fault come after 0, 1, 3, 7, ... seconds.

    A fault that comes and goes does not fill the log either: after its end it is not logged for up to ten seconds, and
    if it lasts then, the pauses are as long as before. Every failure is counted in some line, except those after the
    last one.

    Example:
        >>> throttle = LogThrottle(clock=iter([0.0, 0.5, 1.0, 1.5]).__next__)
        >>> throttle.due(), throttle.due(), throttle.due()
        (Repeats(events=1, seconds=0.0), None, Repeats(events=2, seconds=1.0))
        >>> throttle.over()
        Repeats(events=3, seconds=1.5)
    """

    def __init__(
        self,
        max_pause: float = MAX_PAUSE_SECONDS,
        quiet: float = 0.0,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """Have seen no fault yet.

        Args:
            max_pause: The longest pause between two lines in seconds. A fault that was not seen for as long is new.
            quiet: A fault is over at the first success so many seconds after its last failure.
            clock: Monotonic time in seconds. None means that of the system.
        """
        self._max_pause = max_pause
        self._quiet = quiet
        self._clock = clock or time.monotonic
        self._faults: dict[Hashable, _Fault] = {}

    def due(self, key: Hashable = "", reason: str = "") -> Repeats | None:
        """Count a failure. Returns what the line to log now stands for; None if none is due.

        Args:
            key: What has failed, of few possible values.
            reason: Why. The first few reasons of a fault are logged at once.
        """
        now = self._clock()
        fault = self._at(key, now)
        fault.latest = now
        fault.count += 1
        fault.unlogged += 1
        is_new = reason not in fault.reasons and len(fault.reasons) < _MAX_REASONS
        if now < fault.next_line and not is_new:
            return None
        line = Repeats(fault.unlogged, round(now - fault.since, 1))
        fault.reasons.add(reason)
        fault.logged, fault.unlogged = True, 0
        fault.next_line = now + fault.pause
        fault.pause = min(2 * fault.pause, self._max_pause)
        return line

    def over(self, key: Hashable = "") -> Repeats | None:
        """Note a success. Returns what the line about the end of a fault stands for; None if none is due."""
        fault = self._faults.get(key)
        if fault is None or not fault.lasts:
            return None
        now = self._clock()
        if now - fault.latest < self._quiet:
            return None
        fault.lasts = False
        fault.next_line = min(fault.next_line, now + _RETURN_SECONDS)
        return Repeats(fault.count, round(now - fault.since, 1)) if fault.logged else None

    def _at(self, key: Hashable, now: float) -> _Fault:
        """The fault of a key: the one that lasts, or a new one."""
        fault = self._faults.get(key)
        if fault is None or now - fault.latest > self._max_pause:
            unlogged = fault.unlogged if fault else 0
            fault = self._faults[key] = _Fault(since=now, latest=now, next_line=now, unlogged=unlogged)
        elif not fault.lasts:
            fault.since, fault.count = now, 0
            fault.lasts, fault.logged = True, False
        return fault
