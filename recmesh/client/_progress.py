"""How far a long run is: a bar on a terminal, a line every ten seconds elsewhere."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

_SECONDS_BETWEEN_LINES = 10.0


class Meter:
    """Counts finished requests of `total`, of which `done` were finished before; shows count, rate and time left."""

    def __init__(self, title: str, total: int, done: int, console: Console) -> None:
        self._title, self._total, self._done, self._earlier = title, total, done, done
        self._console = console
        self._started = self._printed = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn(),
            console=console, refresh_per_second=4, disable=not console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task(title, total=total, completed=done)

    def __enter__(self) -> "Meter":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def advance(self) -> None:
        """One more request is finished."""
        self._done += 1
        if self._console.is_terminal:
            self._bar.advance(self._task)
        elif (now := time.monotonic()) - self._printed >= _SECONDS_BETWEEN_LINES:
            self._printed = now
            rate = (self._done - self._earlier) / (now - self._started)
            left = (self._total - self._done) / rate
            self._console.print(f"{self._title}: {self._done} of {self._total}, {rate:.0f}/s, {left:.0f} s left")


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:.0f}/s")
