"""What a training says while it runs: bars with rate and time left on a terminal, a plain line a step elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

_QUIET_SECONDS = 10.0

Advance = Callable[[int], None]


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")


class Reporter:
    """Prints the steps of a training to `console` (standard error by default)."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        """One line, with the seconds since the start."""
        self.console.print(f"[{time.monotonic() - self._began:6.1f} s] {text}", markup=False)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """A step without a known length: says its name and how long it took."""
        began = time.monotonic()
        if self.console.is_terminal:
            with self.console.status(name):
                yield
        else:
            yield
        self.say(f"{name}: {time.monotonic() - began:.1f} s")

    @contextmanager
    def bar(self, name: str, total: int) -> Iterator[Advance]:
        """A step of `total` parts: gives a function to call with the number of parts that are done now."""
        began = time.monotonic()
        if self.console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                MofNCompleteColumn(),
                _Rate(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
            )
            with Progress(*columns, console=self.console, transient=True) as progress:
                task = progress.add_task(name, total=total)
                yield lambda parts: progress.advance(task, parts)
        else:
            yield _Plain(self, name, total).advance
        self.say(f"{name}: {total:,} in {time.monotonic() - began:.1f} s")


class _Plain:
    def __init__(self, reporter: Reporter, name: str, total: int) -> None:
        self._reporter, self._name, self._total = reporter, name, total
        self._done = 0
        self._began = self._said = time.monotonic()

    def advance(self, parts: int) -> None:
        self._done += parts
        now = time.monotonic()
        if now - self._said < _QUIET_SECONDS:
            return
        self._said = now
        rate = self._done / (now - self._began)
        left = (self._total - self._done) / rate if rate else 0.0
        self._reporter.say(f"{self._name}: {self._done:,} of {self._total:,}, {rate:,.0f}/s, {left:.0f} s left")
