"""The time limit of a training: optional steps run only while there is time."""

import re
import time

from recmesh.errors import SettingsError

_UNITS = {"s": 1, "m": 60, "h": 3600}

OPTIONAL_SHARE = 0.75
"""Part of the budget after which no optional step begins."""


class Budget:
    """A time limit that begins when it is made.

    Steps that every release needs (the lists of all windows, the final statistics and towers, export and report) always
    run, so a training may exceed a budget that is too small for them. The last quarter is reserved for them.

    Args:
        seconds: The limit. None means no limit.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self.seconds = seconds
        self._began = time.monotonic()

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """Parse "90s", "10m" or "1h". An empty text means no limit.

        Raises:
            SettingsError: The text is anything else.
        """
        if not text:
            return cls()
        found = re.fullmatch(r"(\d+)([smh])", text.strip())
        if not found or not int(found[1]):
            raise SettingsError(f"budget {text!r} is not a duration; write for example 90s, 10m or 1h")
        return cls(int(found[1]) * _UNITS[found[2]])

    @property
    def limited(self) -> bool:
        """Whether there is a limit."""
        return self.seconds is not None

    def left(self) -> bool:
        """Return whether an optional step may begin."""
        return self.seconds is None or time.monotonic() - self._began < OPTIONAL_SHARE * self.seconds
