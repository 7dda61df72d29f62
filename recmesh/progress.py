"""How far a long step of a command or job is: a bar on a terminal, a line every few seconds elsewhere."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_SECONDS_BETWEEN_LINES = 5.0


class Meter:
    """Counts the parts of a step: rows, or requests. `done` of `total` were finished by an earlier run. `outcome`: what
    has become of the parts in the end, which is then said with how long it took."""

    def __init__(self, title: str, total: int, done: int, console: Console, outcome: str = "") -> None:
        self._title, self._total, self._done, self._earlier = title, total, done, done
        self._outcome = outcome
        self._console = console
        self._started = self._printed = time.monotonic()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task(title, total=total, completed=done, rate="")

    def __enter__(self) -> "Meter":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        if error is None and self._outcome:
            seconds = time.monotonic() - self._started
            resumed = f", {self._earlier:,} of them by an earlier run" if self._earlier else ""
            self._console.print(f"{self._title}: {self._done:,} {self._outcome} in {seconds:.1f} s{resumed}")

    def advance(self, parts: int = 1) -> None:
        """So many more parts are finished."""
        self._done += parts
        rate = (self._done - self._earlier) / max(time.monotonic() - self._started, 1e-6)
        self._bar.update(self._task, completed=self._done, rate=f"{rate:,.0f}/s")
        if not self._console.is_terminal and time.monotonic() - self._printed >= _SECONDS_BETWEEN_LINES:
            self._printed = time.monotonic()
            left = (self._total - self._done) / max(rate, 1e-6)
            self._console.print(f"{self._title}: {self._done:,} of {self._total:,}, {rate:,.0f}/s, {left:.0f} s left")
