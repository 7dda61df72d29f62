"""How long a training may take: what is optional is tried while there is time."""

import re
import time

from recmesh.errors import SettingsError

_UNITS = {"s": 1, "m": 60, "h": 3600}
_OPTIONAL = 0.75


class Budget:
    """Seconds from now, or None for a training that takes as long as it takes.

    What every release needs (lists of all windows, final statistics and towers, export, report) is never cut, and gets
    the last quarter: a budget that is too small for it is exceeded.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self.seconds = seconds
        self._began = time.monotonic()

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """From "90s", "10m" or "1h"; "" is no limit. Raises SettingsError for anything else."""
        if not text:
            return cls()
        found = re.fullmatch(r"(\d+)([smh])", text.strip())
        if not found or not int(found[1]):
            raise SettingsError(f"budget {text!r} is no time: write for example 90s, 10m or 1h")
        return cls(int(found[1]) * _UNITS[found[2]])

    @property
    def limited(self) -> bool:
        return self.seconds is not None

    def left(self) -> bool:
        """Whether there is time for something optional."""
        return self.seconds is None or time.monotonic() - self._began < _OPTIONAL * self.seconds
