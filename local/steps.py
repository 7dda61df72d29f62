"""What a long command says: numbered steps, what each does and how long it took."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console


class Steps:
    """Numbers the steps of a command and prints their lines."""

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._total = total
        self._number = 0
        self._began = time.monotonic()

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Announce a step; at its end say how long it took."""
        self._number += 1
        self._console.print(f"[bold]\\[{self._number}/{self._total}][/bold] {title}", highlight=False)
        began = time.monotonic()
        yield
        self.say(f"done in {time.monotonic() - began:.1f} s")

    def say(self, line: str) -> None:
        """One line inside a step."""
        self._console.print(f"      {line}", markup=False, highlight=False, soft_wrap=True)

    @property
    def seconds(self) -> float:
        """Since the command began."""
        return time.monotonic() - self._began
