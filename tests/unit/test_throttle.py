"""How often a lasting fault is logged, by a clock of its own."""

from collections.abc import Iterable

import pytest

from recmesh.throttle import LogThrottle, Repeats


class _Time:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> _Time:
    return _Time()


@pytest.fixture
def throttle(time: _Time) -> LogThrottle:
    return LogThrottle(clock=time)


def lines(throttle: LogThrottle, time: _Time, tenths: Iterable[int], key: str = "") -> dict[float, Repeats]:
    """The lines of a fault that is seen at these tenths of a second, by their seconds."""
    found = {}
    for tenth in tenths:
        time.now = 50 + tenth / 10
        if line := throttle.due(key):
            found[tenth / 10] = line
    return found


def test_the_pauses_of_a_lasting_fault_double_up_to_five_minutes(throttle: LogThrottle, time: _Time) -> None:
    """Twice a second for an hour: 7,200 failures, 20 lines."""
    found = lines(throttle, time, range(0, 36_000, 5))
    assert list(found)[:10] == [0, 1, 3, 7, 15, 31, 63, 127, 255, 511]
    assert list(found)[10:] == list(range(811, 3_600, 300))
    assert len(found) == 20


def test_each_line_says_how_many_failures_it_stands_for_and_how_long_they_last(
    throttle: LogThrottle, time: _Time
) -> None:
    found = lines(throttle, time, range(0, 80, 5))
    assert found == {0: (1, 0), 1: (2, 1), 3: (4, 3), 7: (8, 7)}
    time.now += 1
    assert throttle.over() == Repeats(events=16, seconds=8.5)


def test_the_end_is_told_once_and_only_of_a_fault_that_was_logged(throttle: LogThrottle, time: _Time) -> None:
    assert throttle.over() is None
    throttle.due()
    assert throttle.over() == Repeats(1, 0)
    assert throttle.over() is None
    assert throttle.due() is None
    assert throttle.over() is None


def test_a_fault_that_comes_and_goes_has_two_lines_in_ten_seconds(throttle: LogThrottle, time: _Time) -> None:
    """Down and up again four times a second, for ten minutes."""
    count = 0
    for _ in range(600 * 4):
        count += throttle.due() is not None
        count += throttle.over() is not None
        time.now += 0.25
    assert 100 < count <= 130


def test_a_fault_that_comes_back_is_logged_within_ten_seconds(throttle: LogThrottle, time: _Time) -> None:
    lines(throttle, time, range(0, 6_000, 5))
    time.now = 50 + 600
    throttle.over()
    found = lines(throttle, time, range(6_005, 7_000, 5))
    assert list(found) == [610]
    assert found[610] == Repeats(events=20 + 177, seconds=9.5)


def test_a_fault_after_a_long_time_is_a_new_one(throttle: LogThrottle, time: _Time) -> None:
    lines(throttle, time, range(0, 100, 5))
    found = lines(throttle, time, range(3_200, 3_240, 5))
    assert found == {320: (1 + 5, 0), 321: (2, 1), 323: (4, 3)}


def test_a_new_reason_is_told_at_once_up_to_five(throttle: LogThrottle) -> None:
    reasons = ["a", "b", "a", "b", "c", "d", "e", "f", "g"]
    assert [reason for reason in reasons if throttle.due(reason=reason)] == ["a", "b", "c", "d", "e"]


def test_keys_are_independent(throttle: LogThrottle, time: _Time) -> None:
    assert throttle.due("a") and not throttle.due("a")
    assert throttle.due("b") and throttle.over("a")
    assert throttle.over("b") == Repeats(1, 0)


def test_a_success_between_failures_is_no_end_while_others_fail(time: _Time) -> None:
    throttle = LogThrottle(quiet=10, clock=time)
    throttle.due()
    for _ in range(5):
        time.now += 6
        assert throttle.over() is None
        throttle.due()
    time.now += 9.9
    assert throttle.over() is None
    time.now += 0.1
    assert throttle.over() == Repeats(6, 40)


def test_a_longest_pause_of_a_second_is_a_line_a_second_and_loses_no_event(time: _Time) -> None:
    throttle = LogThrottle(max_pause=1, clock=time)
    found = lines(throttle, time, range(0, 30, 2))
    assert {second: line.events for second, line in found.items()} == {0: 1, 1: 5, 2: 5}
    assert lines(throttle, time, [500])[50].events == 4 + 1
