"""Ctrl-C, SIGTERM and SIGHUP as a KeyboardInterrupt, and sections of code that they cannot interrupt."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Handles the signals. Create a single instance, in the main thread."""

    def __init__(self) -> None:
        self._shields = 0
        self._pending = False

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Raise KeyboardInterrupt for each of the signals within the block."""
        previous = {number: signal.signal(number, self._receive) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    @contextmanager
    def shield(self) -> Iterator[None]:
        """Delay signals until the end of the block."""
        self._shields += 1
        try:
            yield
        finally:
            self._shields -= 1
        if self._pending and not self._shields:
            self._pending = False
            raise KeyboardInterrupt

    def _receive(self, _number: int, _frame: FrameType | None) -> None:
        if not self._shields:
            raise KeyboardInterrupt
        self._pending = True
