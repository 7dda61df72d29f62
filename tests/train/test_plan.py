"""Plans: for any times, every window has enough users with labels, and stray actions do not move the windows."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.train.data.activity import ActiveTime
from jobs.train.data.prepare import Prepared, prepare
from jobs.train.data.rows import wanted_items
from jobs.train.data.windows import FEWEST_LISTS, MIN_LISTS, Plan, Role, Window, plan
from recmesh.dataset import Action, DataSet, Report, Schema, Side
from recmesh.dataset.schema import Value
from recmesh.errors import DataError
from recmesh.features.spec import DAY_MS, Segment

Longs = npt.NDArray[np.int64]

START = 19_700 * DAY_MS
YEAR = 365 * DAY_MS


def prepared(
    users: Longs, times: Longs, items: Longs | None = None, values: Longs | None = None, repeats: bool = True
) -> Prepared:
    """Encode actions of some users at some times."""
    values = np.ones(len(users), np.int64) if values is None else values
    items = np.arange(len(users)) % 12 if items is None else items
    user_ids = [f"{user:04}" for user in range(max(int(users.max()) + 1, 10))]
    item_ids = [f"{item:04}" for item in range(max(int(items.max()) + 1, 10))]
    actions = pl.DataFrame(
        {
            "user_id": [user_ids[user] for user in users.tolist()],
            "sku_id": [item_ids[item] for item in items.tolist()],
            "time": times,
            "type": ["order"] * len(users),
            "value": values,
        },
        schema_overrides={
            "user_id": pl.Enum(user_ids),
            "sku_id": pl.Enum(item_ids),
            "type": pl.Enum(["order"]),
            "value": pl.Float32,
        },
    ).sort("time", "user_id", "sku_id")
    action = Action(user="u", item="i", time="t", value=Value(column="v", positive=">= 1"))
    schema = Schema(user=Side(id="u"), item=Side(id="i"), action=action, repeats=repeats)
    frames = pl.DataFrame({"user_id": user_ids}), pl.DataFrame({"sku_id": item_ids})
    return prepare(DataSet(Path("shop"), schema, "f" * 64, *frames, actions, None, Report()))


def shop(seed: int = 1, users: int = 300, days: int = 60, each: int = 17, unit: int = 1000) -> tuple[Longs, Longs]:
    """Draw the users and times of the actions of a shop that is open every day."""
    rng = np.random.default_rng(seed)
    times = START + rng.integers(days * DAY_MS // unit, size=users * each) * unit
    return np.repeat(np.arange(users), each), times


def described(chosen: Plan) -> list[tuple[str, str, bool]]:
    """Return name, role and kind of each window."""
    return [(window.name, window.role.value, window.cold) for window in chosen.windows]


def lists(data: Prepared, window: Window) -> int:
    """Count the users with wanted items, and with positive known actions unless they count as new."""
    segment: Segment = "cold" if window.cold else "repeat" if data.spec.repeats else "novel"
    rows = data.known(window.known)
    known = np.bincount(data.users[rows][data.positive[rows]])
    return sum(
        len(wanted_items(data, window, user, segment)) > 0 and (window.cold or (user < len(known) and known[user] > 0))
        for user in window.labelled().tolist()
    )


def check(data: Prepared, chosen: Plan) -> None:
    """Check what holds for every plan."""
    least = MIN_LISTS if chosen.clock else FEWEST_LISTS
    for window in chosen.windows:
        labelled = window.labelled()
        assert lists(data, window) >= least[window.cold]
        allowed = data.start[labelled] if window.cold else window.begin[labelled]
        assert (window.known[labelled] <= allowed).all()
        if not window.cold:
            assert (window.known[labelled] > data.start[labelled]).all()
        if chosen.clock:
            known = np.arange(len(data.times)) < window.known[data.users]
            labels = (np.arange(len(data.times)) >= window.begin[data.users]) & (
                np.arange(len(data.times)) < window.until[data.users]
            )
            assert data.times[known].max() < window.as_of <= data.times[labels].min()
            assert data.times[labels].max() < window.end
    for cold in (False, True):
        windows = [window for window in chosen.windows if window.cold is cold]
        if cold or windows:
            assert [window.role for window in windows].count(Role.HELD_OUT) == 1
            assert windows[-1].held_out and len(windows) > 1
            assert any(window.role.usable_before_evaluation for window in windows)
    if chosen.clock:
        last = chosen.windows[-1].as_of
        assert all(window.end <= last for window in chosen.windows if window.role.usable_before_evaluation)
        assert Role.EARLY in {window.role for window in chosen.windows}


@st.composite
def activity(draw: st.DrawFn) -> tuple[Longs, Longs]:
    """Draw users and times: a few periods, each with a share of the actions, and stray actions."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    users = draw(st.sampled_from((10, 11, 40, 60, 150, 400)))
    size = max(50, users * draw(st.sampled_from((1, 2, 3, 5, 20))))
    kind = draw(st.sampled_from(("even", "one user", "twice", "heavy")))
    actors = {
        "even": np.arange(size) % users,
        "one user": np.where(np.arange(size) < users, np.arange(size) % users, 0),
        "twice": np.arange(size) // 2 % users,
        "heavy": np.minimum(rng.geometric(3 / users, size) - 1, users - 1),
    }[kind]
    actors[:users] = np.arange(users)[: len(actors[:users])]
    unit = draw(st.sampled_from((1, 1000, DAY_MS)))
    times = np.zeros(size, np.int64)
    period = rng.integers(draw(st.integers(1, 4)), size=size)
    for number in range(4):
        begin = draw(st.integers(0, 40_000)) * DAY_MS
        length = draw(st.sampled_from((1, 3_600_000, DAY_MS, 20 * DAY_MS, 60 * DAY_MS, 3 * YEAR)))
        times = np.where(period == number, begin + rng.integers(length, size=size), times)
    if draw(st.booleans()):  # the steps of each user
        order = np.argsort(actors, kind="stable")
        steps = np.arange(size) - np.searchsorted(actors[order], actors[order])
        actors, times = actors[order], START + steps * DAY_MS
    strays = rng.integers(size, size=draw(st.sampled_from((0, 1, 5, users))))
    times[strays] = draw(st.sampled_from((0, START + 30 * DAY_MS, 42_000 * DAY_MS)))
    return actors.astype(np.int64), times // unit * unit


@settings(max_examples=150, deadline=None)
@given(activity(), st.sampled_from((0.0, 0.3, 0.9)), st.booleans(), st.sampled_from((1, 12, 500)))
def test_every_window_has_enough_lists(
    drawn: tuple[Longs, Longs], negative: float, repeats: bool, catalogue: int
) -> None:
    """A data set that is too small is refused in one sentence."""
    users, times = drawn
    rng = np.random.default_rng(1)
    values = (rng.random(len(users)) >= negative).astype(np.int64)
    try:
        data = prepared(users, times, rng.integers(catalogue, size=len(users)), values, repeats)
        chosen = plan(data, 1)
    except DataError as error:
        assert "training needs at least" in str(error)
        assert values.sum() < 50 or len(np.unique(users[values > 0])) < 10
        return
    check(data, chosen)


def test_a_shop_that_is_open_every_day_has_a_split_by_date_with_sixteen_cutoffs() -> None:
    data = prepared(*shop())
    chosen = plan(data, 1)
    check(data, chosen)
    assert chosen.clock
    names = [window.name for window in chosen.windows if not window.cold]
    assert len(names) == 16
    # The data ends with day 60. The labels cover 15 days, so two weeks; the steps are 60 / 32 days, so two days.
    assert names[-1] == str(np.datetime64(START + 46 * DAY_MS, "ms").astype("datetime64[D]"))
    assert names[0] == str(np.datetime64(START + 16 * DAY_MS, "ms").astype("datetime64[D]"))


STRAYS = {
    "one in 1970": [(7, 0)],
    "one in 2087": [(7, 42_735 * DAY_MS)],
    "one four months late": [(7, START + 180 * DAY_MS)],
    "one three weeks late": [(7, START + 81 * DAY_MS)],
    "one three weeks early": [(7, START - 21 * DAY_MS)],
    "both ends": [(7, 0), (8, 42_735 * DAY_MS)],
    "one user, every third day for a year": [(7, START + day * DAY_MS) for day in range(60, 425, 3)],
    "a few users, any time": [(user, 25_000 * DAY_MS + user * 77 * DAY_MS) for user in range(50)],
}


@pytest.mark.parametrize("name", STRAYS)
@pytest.mark.parametrize("unit", [1000, DAY_MS])
def test_stray_actions_do_not_move_the_windows(name: str, unit: int) -> None:
    users, times = shop(unit=unit)
    expected, as_of = plan(prepared(users, times), 1), prepared(users, times).spec.as_of
    added = np.array(STRAYS[name], np.int64)
    data = prepared(np.concatenate([users, added[:, 0]]), np.concatenate([times, added[:, 1]]))
    chosen = plan(data, 1)
    check(data, chosen)
    assert data.spec.as_of == as_of
    assert described(chosen) == described(expected)


@pytest.mark.parametrize("gap", [30, 60, 305])
def test_cutoffs_lie_where_users_are_active(gap: int) -> None:
    """Two seasons with nothing in between give the cut-offs of one season of the same length."""
    users, times = shop(days=120)
    expected = plan(prepared(users, times), 1)
    middle = START + 60 * DAY_MS
    data = prepared(users, np.where(times < middle, times, times + gap * DAY_MS))
    chosen = plan(data, 1)
    check(data, chosen)
    assert chosen.clock
    shifted = [window.as_of + (gap * DAY_MS if window.as_of >= middle else 0) for window in expected.windows]
    assert [window.as_of for window in chosen.windows] == shifted
    assert [window.role for window in chosen.windows] == [window.role for window in expected.windows]


def test_a_pilot_before_the_opening_leaves_the_windows_where_they_are() -> None:
    users, times = shop()
    expected = plan(prepared(users, times), 1)
    rng = np.random.default_rng(2)
    pilot = START - YEAR + rng.integers(14, size=120) * DAY_MS
    data = prepared(np.concatenate([users, rng.integers(30, size=120)]), np.concatenate([times, pilot]))
    chosen = plan(data, 1)
    check(data, chosen)
    assert chosen.clock
    assert {window.name for window in chosen.windows if window.held_out} == {
        window.name for window in expected.windows if window.held_out
    }


def test_each_users_own_steps_as_times() -> None:
    users = np.repeat(np.arange(200), np.arange(200) % 30 + 1)
    steps = np.arange(len(users)) - np.searchsorted(users, users)
    data = prepared(users, START + steps * DAY_MS)
    check(data, plan(data, 1))


def test_without_second_actions_all_windows_are_cold() -> None:
    data = prepared(np.arange(100), np.full(100, START))
    chosen = plan(data, 1)
    check(data, chosen)
    assert not chosen.clock
    assert all(window.cold for window in chosen.windows)
    assert sorted(user for window in chosen.windows for user in window.labelled()) == list(range(100))


def test_few_known_users_at_the_cutoffs_lead_to_a_split_by_position() -> None:
    """Ten of 500 people, one at a time, come back for a day: hardly anyone is there at a cut-off."""
    rng = np.random.default_rng(3)
    users = np.concatenate([np.repeat(np.arange(500), 20), np.repeat(np.arange(10), 2)])
    day = np.concatenate([np.repeat(rng.integers(3000, size=500), 20), 3000 + np.repeat(np.arange(10) * 3, 2)])
    data = prepared(users, START + day * DAY_MS)
    chosen = plan(data, 1)
    check(data, chosen)
    assert not chosen.clock


def test_active_time_leaves_out_quiet_ends_and_gaps() -> None:
    """Two users act on days 0 to 9 and 20 to 29, and one of a hundred users on day 200."""
    day = np.concatenate([np.arange(10), np.arange(20, 30)])
    users = np.repeat(np.arange(20), 20)
    times = np.tile(day, 20) * DAY_MS
    active = ActiveTime.of(np.append(users, 20), np.append(times, 200 * DAY_MS), DAY_MS)
    assert active.begins.tolist() == [0, 20 * DAY_MS]
    assert active.ends.tolist() == [10 * DAY_MS, 30 * DAY_MS]
    assert active.length == 20 * DAY_MS
    assert active.back(5 * DAY_MS) == 25 * DAY_MS
    assert active.back(10 * DAY_MS) == 20 * DAY_MS
    assert active.back(11 * DAY_MS) == 9 * DAY_MS
    assert active.back(20 * DAY_MS) == 0
    assert active.back(0) == 30 * DAY_MS
