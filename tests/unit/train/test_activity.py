"""Periods of activity, without stray actions and gaps."""

from collections.abc import Iterable

import numpy as np
import pytest

from jobs.train.data.activity import ActiveTime
from recmesh.features.spec import DAY_MS

HOUR = DAY_MS // 24


def active(days: Iterable[int], strays: Iterable[int] = (), users: int = 30, unit: int = DAY_MS) -> ActiveTime:
    """Each user acts in these units; user 0 in some more."""
    base, more = sorted(days), sorted(strays)
    times = [sorted([*base, *more]), *([base] * (users - 1))]
    numbers = np.repeat(np.arange(users), [len(own) for own in times]).astype(np.int32)
    return ActiveTime.of(numbers, np.concatenate(times).astype(np.int64) * unit, unit)


def periods(found: ActiveTime, unit: int = DAY_MS) -> list[tuple[int, int]]:
    return list(zip((found.begins // unit).tolist(), (found.ends // unit).tolist(), strict=True))


def test_strays_before_and_after_move_nothing() -> None:
    found = active(range(20), strays=(-100, 150))
    assert periods(found) == [(0, 20)]
    assert (found.begin, found.end, found.length) == (0, 20 * DAY_MS, 20 * DAY_MS)


@pytest.mark.parametrize(("gap", "expected"), [(6, [(0, 36)]), (7, [(0, 15), (22, 37)])])
def test_more_than_six_quiet_days_are_a_gap(gap: int, expected: list[tuple[int, int]]) -> None:
    days = [*range(15), *range(15 + gap, 30 + gap)]
    found = active(days, strays=[15 + gap // 2])
    assert periods(found) == expected
    assert found.length == sum(end - begin for begin, end in expected) * DAY_MS


def test_a_day_is_quiet_with_less_than_a_tenth_of_the_usual_visits() -> None:
    """Usually 30 users come; on day 40 three, on day 50 two."""
    base = [np.arange(20)] * 30
    own = [np.append(days, [40] * (user < 3) + [50] * (user < 2)) for user, days in enumerate(base)]
    users = np.repeat(np.arange(30), [len(days) for days in own]).astype(np.int32)
    found = ActiveTime.of(users, np.concatenate(own).astype(np.int64) * DAY_MS, DAY_MS)
    assert periods(found) == [(0, 20), (40, 41)]


def test_many_actions_of_one_user_on_a_day_are_one_visit() -> None:
    own = [np.arange(20)] * 30
    own[0] = np.sort(np.append(own[0], [40] * 100))
    users = np.repeat(np.arange(30), [len(days) for days in own]).astype(np.int32)
    found = ActiveTime.of(users, np.concatenate(own).astype(np.int64) * DAY_MS, DAY_MS)
    assert periods(found) == [(0, 20)]


def test_a_short_time_is_measured_in_finer_units() -> None:
    """Of 60 hours the bulk covers 48; a 64th of them is less than an hour, the resolution."""
    assert periods(active(range(60), unit=HOUR), HOUR) == [(0, 60)]
    # Of 140 hours it covers 115; a 64th is 1.8 hours.
    found = active([*range(60), *range(80, 140)], unit=HOUR)
    assert (found.begin, found.end, len(found.begins)) == (0, 140 * HOUR, 2)
    unit = 115 * HOUR // 64
    assert found.ends[0] == (59 * HOUR // unit + 1) * unit
    assert found.begins[1] == 80 * HOUR // unit * unit
    # Eight days and more are measured by day: ten quiet hours are no gap.
    assert periods(active([*range(200), *range(210, 300)], unit=HOUR), HOUR) == [(0, 300)]


def test_periods_begin_and_end_with_their_actions() -> None:
    times = np.tile(np.arange(20) * DAY_MS + 5 * HOUR, 30)
    found = ActiveTime.of(np.repeat(np.arange(30), 20).astype(np.int32), times, 1)
    assert (found.begin, found.end) == (5 * HOUR, 19 * DAY_MS + 5 * HOUR + 1)
    assert found.ending_at_midnight().end == 20 * DAY_MS
    assert found.ending_at_midnight().ending_at_midnight().end == 20 * DAY_MS
    assert found.end == 19 * DAY_MS + 5 * HOUR + 1


@pytest.mark.parametrize(("back", "at"), [(0, 40), (1, 39), (10, 30), (11, 19), (15, 15), (30, 0)])
def test_going_back_skips_gaps(back: int, at: int) -> None:
    found = ActiveTime(np.array([0, 30]), np.array([20, 40]))
    assert found.back(back) == at


def test_only_the_last_period_is_rounded_up_to_midnight() -> None:
    found = ActiveTime(np.array([0, 10 * DAY_MS]), np.array([HOUR, 12 * DAY_MS + HOUR])).ending_at_midnight()
    assert (found.begins.tolist(), found.ends.tolist()) == ([0, 10 * DAY_MS], [HOUR, 13 * DAY_MS])
