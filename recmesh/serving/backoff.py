"""Pauses between attempts that fail."""

import time
from collections.abc import Callable


class Backoff:
    """A pause after each failure, which doubles up to a limit.

    Attributes:
        pause: The latest pause in seconds; 0 before the first failure.
    """

    def __init__(self, first: float, longest: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin without a pause.

        Args:
            first: The pause after the first failure, in seconds.
            longest: The longest pause, in seconds.
            clock: Monotonic time in seconds.
        """
        self.pause = 0.0
        self._first, self._longest, self._clock = first, longest, clock
        self._over_at = 0.0

    @property
    def over(self) -> bool:
        """Whether the pause is over, so that the next attempt is due."""
        return not self.pause or self._clock() >= self._over_at

    def failed(self) -> float:
        """Begin the next pause. Returns its length in seconds."""
        self.pause = min(2 * self.pause, self._longest) if self.pause else self._first
        self._over_at = self._clock() + self.pause
        return self.pause

    def reset(self) -> None:
        """Forget all failures."""
        self.pause = 0.0
