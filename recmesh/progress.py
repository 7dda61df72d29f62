"""Progress of long commands: a bar on a terminal, a line every few seconds elsewhere, with the rate and the time left.

A `Reporter` prints the lines of a command, times its steps and makes a `Meter` for each step of known length. The
subclasses differ only in what they put before a line: nothing, the seconds since the start, or the number of the step.
Steps and meters are spans of the trace of a job.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from types import TracebackType
from typing import TypeAlias

from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from recmesh import spans

Clock: TypeAlias = Callable[[], float]
"""Monotonic time in seconds."""

SECONDS_BETWEEN_LINES = 5.0

log = logging.getLogger(__name__)
"""Its level decides which lines are printed: warnings are of the level WARNING, all others of INFO."""
log.setLevel(logging.INFO)


def _count(parts: int) -> str:
    return f"{parts:,}"


class Reporter:
    """Prints the lines of a command to `console` (standard error by default)."""

    def __init__(self, console: Console | None = None, clock: Clock = time.monotonic) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self.clock = clock
        self._began = clock()

    @property
    def seconds(self) -> float:
        """Seconds since the command began."""
        return self.clock() - self._began

    def say(self, text: str, level: int = logging.INFO) -> None:
        """Print one line, if `log` is enabled for its level. It is neither read as markup nor wrapped."""
        if log.isEnabledFor(level):
            self.console.print(self._prefix() + text, markup=False, highlight=False, soft_wrap=True)

    def warn(self, warnings: Iterable[str]) -> None:
        """Print a line for each warning."""
        for warning in warnings:
            self.say(f"warning: {warning}", logging.WARNING)

    def _prefix(self) -> str:
        """What is before each line."""
        return ""

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Run a step of unknown length: a spinner on a terminal, then its name and duration."""
        began = self.clock()
        spinner = self.console.status(escape(name)) if self.console.is_terminal else nullcontext()
        with spans.span(name), spinner:
            yield
        self.say(f"{name}: {self.clock() - began:.1f} s")

    @contextmanager
    def bar(self, name: str, total: int) -> Iterator[Callable[[int], None]]:
        """Run a step of `total` parts, and report how long it took.

        Yields:
            A function to call with the number of parts finished since the last call.
        """
        with Meter(self, name, total, outcome="") as meter:
            yield meter.advance


class TimedReporter(Reporter):
    """Puts the seconds since the start before each line."""

    def _prefix(self) -> str:
        return f"[{self.seconds:6.1f} s] "


class NumberedSteps(Reporter):
    """Announces the steps of a command by number and indents the lines within them."""

    def __init__(self, console: Console, total: int, clock: Clock = time.monotonic) -> None:
        super().__init__(console, clock)
        self._total = total
        self._number = 0

    def _prefix(self) -> str:
        return "      "

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Announce a step, run it, and report how long it took."""
        self._number += 1
        self.console.print(f"[bold]\\[{self._number}/{self._total}][/bold] {escape(name)}", highlight=False)
        began = self.clock()
        with spans.span(name):
            yield
        self.say(f"done in {self.clock() - began:.1f} s")


class Meter:
    """The progress of one step of known length.

    Args:
        reporter: Prints the lines.
        title: Name of the step.
        total: Number of parts: rows, requests or bytes.
        done: Parts that an earlier run finished. They do not count towards the rate.
        outcome: What has become of the parts at the end ("written"), for a closing line with the duration. None omits
            that line.
        amount: Formats a number of parts.
    """

    def __init__(
        self,
        reporter: Reporter,
        title: str,
        total: int,
        *,
        done: int = 0,
        outcome: str | None = None,
        amount: Callable[[int], str] = _count,
    ) -> None:
        self._reporter, self._title, self._total = reporter, title, total
        self._done = self._earlier = done
        self._outcome, self._amount = outcome, amount
        self._started = self._printed = reporter.clock()
        console = reporter.console
        self._terminal = console.is_terminal
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[state]}", markup=False),
            TimeElapsedColumn(),
        )
        self._bar = Progress(
            *columns, console=console, transient=True, disable=not self._terminal, get_time=reporter.clock
        )
        self._task = self._bar.add_task(title, total=total, completed=done, state=self._state())

    def __enter__(self) -> "Meter":
        self._span = spans.span(self._title)
        self._span.__enter__()
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        self._span.__exit__(kind, error, trace)
        if error is None and self._outcome is not None:
            what = f"{self._amount(self._done)} {self._outcome}".rstrip()
            resumed = f", {self._amount(self._earlier)} of them by an earlier run" if self._earlier else ""
            self._reporter.say(f"{self._title}: {what} in {self._elapsed():.1f} s{resumed}")

    @property
    def done(self) -> int:
        """Parts finished so far, with those of an earlier run."""
        return self._done

    def advance(self, parts: int = 1) -> None:
        """Report that `parts` more parts are finished."""
        self._done += parts
        if self._terminal:
            self._bar.update(self._task, completed=self._done, state=self._state())
            return
        now = self._reporter.clock()
        if now - self._printed >= SECONDS_BETWEEN_LINES:
            self._printed = now
            self._reporter.say(f"{self._title}: {self._state()}")

    def _elapsed(self) -> float:
        return self._reporter.clock() - self._started

    def _state(self) -> str:
        """Amount, mean rate and time left."""
        state = f"{self._amount(self._done)} of {self._amount(self._total)}"
        elapsed, finished = self._elapsed(), self._done - self._earlier
        if not finished or elapsed <= 0:
            return state
        rate = finished / elapsed
        return f"{state}, {self._amount(round(rate))}/s, {(self._total - self._done) / rate:.0f} s left"


@contextmanager
def reading(reporter: Reporter) -> Iterator[Callable[[str, int, int], None]]:
    """Meters for files that are read one kind after the other.

    Yields:
        A function to call with the kind of the files, the bytes read and the bytes in all.
    """
    meters: dict[str, Meter] = {}
    with ExitStack() as current:

        def show(kind: str, done: int, total: int) -> None:
            if kind not in meters:
                current.close()
                meter = Meter(reporter, f"reading {kind}", total, outcome="", amount=decimal)
                meters[kind] = current.enter_context(meter)
            meters[kind].advance(done - meters[kind].done)

        yield show
