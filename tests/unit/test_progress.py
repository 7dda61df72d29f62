"""What users see of long commands: bars on a terminal, lines elsewhere, by a clock that the test moves."""

import io

import pytest
from rich.console import Console

from recmesh.progress import Meter, NumberedSteps, Reporter, TimedReporter, reading


class FakeClock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def output() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def file(output: io.StringIO) -> Console:
    return Console(file=output, width=120)


@pytest.fixture
def terminal(output: io.StringIO) -> Console:
    return Console(file=output, width=120, force_terminal=True, no_color=True, _environ={"TERM": "xterm"})


def test_a_meter_prints_a_line_every_five_seconds_and_an_outcome(
    file: Console, output: io.StringIO, clock: FakeClock
) -> None:
    with Meter(Reporter(file, clock), "Redis users", 10_000, outcome="written") as meter:
        for _ in range(5):
            clock.sleep(2)
            meter.advance(2_000)
    assert output.getvalue().splitlines() == [
        "Redis users: 6,000 of 10,000, 1,000/s, 4 s left",
        "Redis users: 10,000 written in 10.0 s",
    ]


def test_rows_of_an_earlier_run_do_not_count_towards_the_rate(
    file: Console, output: io.StringIO, clock: FakeClock
) -> None:
    with Meter(Reporter(file, clock), "batch", 3_000, done=1_000, outcome="written") as meter:
        clock.sleep(10)
        meter.advance(1_000)
        meter.advance(1_000)
    assert output.getvalue().splitlines() == [
        "batch: 2,000 of 3,000, 100/s, 10 s left",
        "batch: 3,000 written in 10.0 s, 1,000 of them by an earlier run",
    ]


def test_a_meter_without_outcome_has_no_closing_line(file: Console, output: io.StringIO, clock: FakeClock) -> None:
    with Meter(Reporter(file, clock), "score: users", 1) as meter:
        meter.advance()
    assert output.getvalue() == ""


def test_a_failed_step_claims_no_outcome(file: Console, output: io.StringIO, clock: FakeClock) -> None:
    with pytest.raises(OSError), Meter(Reporter(file, clock), "batch", 2, outcome="written"):
        raise OSError
    assert output.getvalue() == ""


def test_the_first_line_has_no_rate_before_time_has_passed(
    terminal: Console, output: io.StringIO, clock: FakeClock
) -> None:
    with Meter(Reporter(terminal, clock), "users", 100) as meter:
        meter.advance(10)
        assert "10 of 100 " in shown(terminal, output)
        clock.sleep(1)
        meter.advance(10)
        assert "20 of 100, 20/s, 4 s left" in shown(terminal, output)


def test_a_terminal_shows_a_bar_and_removes_it(terminal: Console, output: io.StringIO, clock: FakeClock) -> None:
    with Reporter(terminal, clock).bar("lists [cold]", 200) as advance:
        clock.sleep(10)
        advance(100)
        bar = shown(terminal, output).splitlines()[-1]
        assert "lists [cold]" in bar
        assert "50%" in bar
        assert "100 of 200, 10/s, 10 s left" in bar
        assert "0:00:10" in bar
    assert output.getvalue().splitlines()[-1].endswith("lists [cold]: 100 in 10.0 s")


def shown(terminal: Console, output: io.StringIO) -> str:
    """What the terminal shows once its bar is drawn again."""
    live = terminal._live_stack[-1]
    live.refresh()
    return output.getvalue()


def test_each_kind_of_file_has_a_meter_in_bytes(file: Console, output: io.StringIO, clock: FakeClock) -> None:
    with reading(Reporter(file, clock)) as show:
        clock.sleep(1)
        show("users", 1_000, 2_000)
        clock.sleep(1)
        show("users", 2_000, 2_000)
        show("actions", 0, 30_000_000)
        clock.sleep(5)
        show("actions", 10_000_000, 30_000_000)
        clock.sleep(5)
        show("actions", 30_000_000, 30_000_000)
    assert output.getvalue().splitlines() == [
        "reading users: 2.0 kB in 1.0 s",
        "reading actions: 10.0 MB of 30.0 MB, 2.0 MB/s, 10 s left",
        "reading actions: 30.0 MB of 30.0 MB, 3.0 MB/s, 0 s left",
        "reading actions: 30.0 MB in 10.0 s",
    ]


def test_a_timed_reporter_puts_the_time_since_the_start_before_each_line(
    file: Console, output: io.StringIO, clock: FakeClock
) -> None:
    reporter = TimedReporter(file, clock)
    clock.sleep(2.5)
    with reporter.step("preparing"):
        clock.sleep(1)
    with reporter.bar("epoch 1", 30) as advance:
        clock.sleep(6)
        advance(20)
        advance(10)
    reporter.say("[bold] is text here")
    assert reporter.seconds == 9.5
    assert output.getvalue().splitlines() == [
        "[   3.5 s] preparing: 1.0 s",
        "[   9.5 s] epoch 1: 20 of 30, 3/s, 3 s left",
        "[   9.5 s] epoch 1: 30 in 6.0 s",
        "[   9.5 s] [bold] is text here",
    ]


def test_numbered_steps_are_announced_and_their_lines_indented(
    file: Console, output: io.StringIO, clock: FakeClock
) -> None:
    steps = NumberedSteps(file, 2, clock)
    with steps.step("data set ta_feng"):
        clock.sleep(1.25)
        steps.say("3 users " + "and so on " * 20)
    with pytest.raises(OSError), steps.step("folder [x]"):
        raise OSError
    assert output.getvalue().splitlines() == [
        "[1/2] data set ta_feng",
        "      3 users " + "and so on " * 20,
        "      done in 1.2 s",
        "[2/2] folder [x]",
    ]
