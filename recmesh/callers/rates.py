"""A token bucket."""

import time
from collections.abc import Callable

from recmesh.callers.policy import Rate

# A call that comes exactly at the rate finds a whole call, up to rounding.
_WHOLE = 1 - 1e-9


class Bucket:
    """Holds as many calls as a caller may make now. It fills at the caller's rate, up to the burst."""

    def __init__(self, rate: Rate, clock: Callable[[], float] = time.monotonic) -> None:
        """Start full.

        Args:
            rate: Of the caller.
            clock: Monotonic time in seconds.
        """
        self.rate = rate
        self._per_second = rate.per_second
        self._most = rate.most
        self._clock = clock
        self._calls = self._most
        self._at = clock()

    def take(self) -> bool:
        """Take a call out. Returns whether there was one."""
        now = self._clock()
        self._calls = min(self._most, self._calls + (now - self._at) * self._per_second)
        self._at = now
        if self._calls < _WHOLE:
            return False
        self._calls -= 1
        return True
