"""Cut-offs, labels and roles on small examples; tests/train/test_windows.py has whole data sets."""

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from jobs.train.data import windows
from jobs.train.data.activity import ActiveTime
from jobs.train.data.windows import Role, Window, plan
from recmesh.errors import DataError
from recmesh.features.spec import DAY_MS

DAY = DAY_MS


def prepared(
    histories: Sequence[Sequence[int]],
    items: Sequence[int] | None = None,
    positive: Sequence[bool] | None = None,
    repeats: bool = True,
    granularity: int = DAY,
) -> Any:
    """A data set in which each user acts on these days, every time on item 0 unless others are given."""
    start = np.cumsum([0, *map(len, histories)])
    days = np.array([day for history in histories for day in history], np.int64)
    users = np.repeat(np.arange(len(histories)), [len(history) for history in histories])
    sku = np.zeros(len(days), np.int64) if items is None else np.array(items)
    wanted = np.ones(len(days), np.bool_) if positive is None else np.array(positive)
    last = int(days.max()) + 1 if len(days) else 0
    return SimpleNamespace(
        start=start,
        times=days * DAY,
        items=sku,
        positive=wanted,
        active=ActiveTime(np.array([int(days.min()) * DAY]), np.array([last * DAY])),
        spec=SimpleNamespace(as_of=last * DAY, repeats=repeats, granularity=granularity),
        pairs=lambda rows: users[rows] * 100 + sku[rows],
    )


def counts(data: Any) -> Any:
    return windows._Counts.of(data)


def window(data: Any, known: Sequence[int], begin: Sequence[int], until: Sequence[int], cold: bool = False) -> Window:
    arrays = [np.array(part, np.int64) for part in (known, begin, until)]
    return Window("w", 0, arrays[0], arrays[1], arrays[2], Role.TRAINING, cold=cold)


def test_a_warm_list_needs_a_positive_known_action_and_a_positive_label() -> None:
    data = prepared([[1, 2, 3], [1, 2], [1, 2], [5]], positive=[True, False, True, True, False, False, True, True])
    # User 0 knows 1 and wants 3; user 1's label and user 2's known action are not positive; user 3 knows nothing.
    warm = window(data, [1, 4, 6, 7], [1, 4, 6, 7], [3, 5, 7, 8])
    assert counts(data).lists(warm) == 1
    assert counts(data).lists(replace(warm, cold=True)) == 3
    assert warm.labelled().tolist() == [0, 1, 2, 3]
    assert counts(data).users().tolist() == [0, 1, 2, 3]
    assert counts(prepared([[1], [2]], positive=[False, True])).users().tolist() == [1]


def test_without_repeats_only_the_first_action_on_an_item_is_a_label_of_a_known_user() -> None:
    histories, items = [[1, 2], [1, 2]], [7, 7, 7, 8]
    for repeats, lists in ((True, 2), (False, 1)):
        data = prepared(histories, items, repeats=repeats)
        warm = window(data, [1, 3], [1, 3], [2, 4])
        assert counts(data).lists(warm) == lists
        assert counts(data).lists(replace(warm, cold=True)) == 2


@pytest.mark.parametrize(("wanted", "rounded"), [(0.2, 7), (3.4, 7), (10.4, 7), (10.6, 14), (14, 14)])
def test_lengths_are_rounded_to_units_and_one_at_least(wanted: float, rounded: int) -> None:
    assert windows._round_to_unit(wanted, 7) == rounded


def test_the_share_of_returning_users_counts_those_active_from_the_cutoff_on() -> None:
    """Users 0 and 1 return, 2 is new, 3 is gone and 4 never acted."""
    data = prepared([[1, 9], [4, 5], [5], [1, 4], []])
    assert windows._returning_share(data, 5 * DAY) == pytest.approx(2 / 3)
    assert windows._returning_share(data, 9 * DAY) == 1.0
    assert windows._returning_share(data, 10 * DAY) == 0.0


def test_positions_at_a_cutoff_are_those_of_the_first_later_action() -> None:
    data = prepared([[1, 3, 5], [], [4], [1, 2]])
    assert windows._positions_at(data, 3 * DAY).tolist() == [1, 3, 3, 6]
    assert windows._positions_at(data, 4 * DAY + 1).tolist() == [2, 3, 4, 6]


def test_the_windows_of_a_cutoff() -> None:
    """Cut at day 3, labels until day 5. User 1 is hidden; user 2 knows nothing."""
    data = prepared([[1, 3, 5], [2, 4, 6], [4]])
    warm, cold = windows._at_cutoff(data, 3 * DAY, 5 * DAY, np.array([False, True, False]))
    assert (warm.name, warm.as_of, warm.end, warm.cold) == ("1970-01-04", 3 * DAY, 5 * DAY, False)
    assert [part.tolist() for part in (warm.known, warm.begin, warm.until)] == [[1, 4, 6], [1, 4, 6], [2, 5, 6]]
    assert (cold.name, cold.as_of, cold.end, cold.cold) == ("1970-01-04 cold", 3 * DAY, 5 * DAY, True)
    assert [part.tolist() for part in (cold.known, cold.begin, cold.until)] == [[1, 3, 6], [1, 4, 6], [1, 5, 6]]


def pair(number: int, length: int = 3) -> tuple[Window, Window]:
    """The windows of cut-off `number`, whose labels end `length` later."""
    known = np.array([number])
    warm = Window(str(number), number, known, known, known, Role.TRAINING, end=number + length)
    return warm, replace(warm, cold=True)


def test_the_roles_of_a_split_by_date() -> None:
    """Of ten cut-offs, labels of the last two before the held-out one overlap it. Half of the others are early."""
    found = windows._with_roles([pair(number) for number in range(10)])
    roles = [Role.EARLY] * 3 + [Role.TRAINING] * 4 + [Role.OVERLAPPING] * 2 + [Role.HELD_OUT]
    assert [(w.role, w.cold) for w in found] == [(role, cold) for role in roles for cold in (False, True)]
    assert [w.held_out for w in found[-2:]] == [True, True]
    usable = {Role.EARLY, Role.TRAINING, Role.FOLD}
    # Reports show these.
    assert [role.value for role in Role] == ["training", "early", "overlapping", "fold", "held-out"]
    assert {role for role in Role if role.usable_before_evaluation} == usable


def test_a_split_by_date_needs_two_cutoffs_whose_labels_end_before_the_last() -> None:
    assert windows._with_roles([pair(number) for number in range(4)]) == []
    assert [w.role for w in windows._with_roles([pair(number) for number in range(5)])][::2] == [
        Role.EARLY,
        Role.TRAINING,
        Role.OVERLAPPING,
        Role.OVERLAPPING,
        Role.HELD_OUT,
    ]
    assert windows._with_roles([]) == []


@pytest.mark.parametrize(
    ("lists", "kept"),
    [
        ([(50, 10)] * 3, [1, 2, 3]),
        ([(50, 10), (49, 10), (50, 10)], [1, 3]),
        ([(50, 10), (50, 9), (50, 10)], [1, 3]),
        ([(49, 10), (50, 10), (50, 10)], []),
    ],
)
def test_cutoffs_with_fewer_than_50_warm_and_10_cold_lists_are_left_out(
    lists: Sequence[tuple[int, int]], kept: Sequence[int]
) -> None:
    """The latest comes first. Without it, there are none."""
    pairs = [pair(number) for number in (3, 2, 1)]
    by_cutoff = dict(zip((3, 2, 1), lists, strict=True))
    counting: Any = SimpleNamespace(lists=lambda w: by_cutoff[w.as_of][int(w.cold)])
    assert [warm.as_of for warm, _ in windows._with_enough_lists(pairs, counting)] == kept


def test_a_cutoff_with_the_known_actions_of_the_next_one_is_left_out() -> None:
    same = tuple(replace(w, known=np.array([3])) for w in pair(2))
    counting: Any = SimpleNamespace(lists=lambda w: 1_000)
    kept = windows._with_enough_lists([pair(3), same, pair(1)], counting)  # type: ignore[list-item]
    assert [warm.as_of for warm, _ in kept] == [1, 3]


class _Draw:
    """Random numbers by a list."""

    def __init__(self, *numbers: float) -> None:
        self.numbers = numbers

    def random(self, count: int) -> Any:
        return np.array(self.numbers[:count])


def test_histories_are_cut_at_their_shares_and_each_cut_leaves_an_action() -> None:
    """Histories of 8, 3, 2, 2, 1 and 0 actions. Of the two with two, the first is kept for training."""
    sizes = [8, 3, 2, 2, 1, 0]
    end = np.cumsum(sizes).astype(np.int64)
    begin = end - np.array(sizes, np.int64)
    draw: Any = _Draw(0, 0, 0.49, 0.5, 0, 0)
    cuts = [(cut - begin).tolist() for cut in windows._cuts(begin, end, draw)]
    assert cuts == [[5, 0, 0, 0, 0, 0], [6, 1, 1, 0, 0, 0], [7, 2, 2, 1, 0, 0]]


def test_a_split_by_position_has_the_actions_between_two_cuts_as_labels() -> None:
    data = prepared([list(range(8))] * 20)
    early, training, held_out = windows._by_position(data, counts(data), 1)
    assert [w.name for w in (early, training, held_out)] == ["from 62%", "from 75%", "from 88%"]
    assert [w.role for w in (early, training, held_out)] == [Role.EARLY, Role.TRAINING, Role.HELD_OUT]
    assert [(w.known[1] - 8, w.begin[1] - 8, w.until[1] - 8) for w in (early, training, held_out)] == [
        (5, 5, 6),
        (6, 6, 7),
        (7, 7, 8),
    ]
    assert {w.as_of for w in (early, training, held_out)} == {8 * DAY}
    assert not any(w.cold for w in (early, training, held_out))


@pytest.mark.parametrize(("users", "found"), [(9, 0), (10, 3)])
def test_a_split_by_position_needs_ten_lists_in_a_window(users: int, found: int) -> None:
    data = prepared([list(range(8))] * users)
    assert len(windows._by_position(data, counts(data), 1)) == found


def test_users_with_a_single_action_have_no_warm_windows() -> None:
    data = prepared([[1]] * 50)
    assert windows._by_position(data, counts(data), 1) == []


@pytest.mark.parametrize(("users", "folds", "count"), [(49, 2, 2), (50, 5, 5), (20_000, 5, 5), (20_001, 5, 2)])
def test_each_fold_hides_all_actions_of_other_users(users: int, folds: int, count: int) -> None:
    data = prepared([[1, 2]] * users)
    found = windows._folds(data, counts(data), 1)
    assert [w.name for w in found] == [f"hidden users {number + 1} of {folds}" for number in range(count)]
    assert [w.role for w in found] == [Role.FOLD] * (count - 1) + [Role.HELD_OUT]
    begin, end = data.start[:-1], data.start[1:]
    for w in found:
        hidden = w.until > w.begin
        assert w.cold and w.as_of == 3 * DAY
        assert (w.begin == begin).all()
        assert (w.known == np.where(hidden, begin, end)).all()
        assert (w.until == np.where(hidden, end, begin)).all()
    hidden_by = sum((w.until > w.begin).astype(int) for w in found)
    assert int(np.max(hidden_by)) == 1
    assert (int(np.min(hidden_by)) == 1) is (count == folds)


def test_folds_that_would_be_too_small_are_drawn_evenly() -> None:
    """Ten active users in two folds: five each, whatever the seed."""
    for seed in range(20):
        data = prepared([[1]] * 10 + [[]] * 90)
        found = windows._folds(data, counts(data), seed)
        assert [counts(data).lists(w) for w in found] == [5, 5]


def test_too_few_users_with_positive_actions_cannot_be_trained_on() -> None:
    data = prepared([[1]] * 9 + [[2]] * 9, positive=[True] * 9 + [False] * 9)
    with pytest.raises(DataError, match="9 users with positive actions are too few; training needs at least 10"):
        windows._folds(data, counts(data), 1)


def daily(users: int, days: int) -> Any:
    """Each user acts every day."""
    return prepared([list(range(days))] * users)


def test_a_split_by_date_of_64_days() -> None:
    """A quarter is 16 days, or two weeks of labels; a step is 2 days. Cut-offs leave 14, 16, ... days."""
    data = daily(300, 64)
    chosen = plan(data, 1)
    assert chosen.clock
    cutoffs = [w.as_of // DAY for w in chosen.windows if not w.cold]
    assert cutoffs == [64 - left for left in range(14, 46, 2)][::-1]
    assert {(w.end - w.as_of) // DAY for w in chosen.windows} == {14}
    assert (chosen.hidden == (np.random.default_rng(1).random(300) < 0.2)).all()
    # Labels that end by day 50: cut-offs up to day 36.
    roles = [w.role for w in chosen.windows if not w.cold]
    assert roles == [Role.EARLY] * 4 + [Role.TRAINING] * 5 + [Role.OVERLAPPING] * 6 + [Role.HELD_OUT]


def test_large_data_sets_have_half_as_many_cutoffs_twice_as_far_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    data = daily(300, 64)
    monkeypatch.setattr(windows, "MANY_ACTIONS", len(data.items))
    assert len(plan(data, 1).windows) == 32
    monkeypatch.setattr(windows, "MANY_ACTIONS", len(data.items) - 1)
    cutoffs = [w.as_of // DAY for w in plan(data, 1).windows if not w.cold]
    assert cutoffs == [64 - left for left in range(14, 46, 4)][::-1]


def test_labels_of_a_short_time_have_the_unit_of_its_resolution() -> None:
    """A quarter of 16 days is 4 days, no week."""
    chosen = plan(daily(300, 16), 1)
    assert chosen.clock
    assert {(w.end - w.as_of) // DAY for w in chosen.windows} == {4}
    assert [w.as_of // DAY for w in chosen.windows if not w.cold] == list(range(1, 13))


def test_labels_cover_four_weeks_at_most() -> None:
    assert {(w.end - w.as_of) // DAY for w in plan(daily(300, 200), 1).windows} == {28}


@pytest.mark.parametrize(("days", "clock"), [(6, False), (7, True)])
def test_a_split_by_date_needs_seven_days(days: int, clock: bool) -> None:
    """Of seven days, two are labels; the cut-offs leave 2 to 6 days."""
    assert plan(daily(300, days), 1).clock is clock


def test_a_split_by_position_hides_nobody_from_the_towers() -> None:
    """Users who never return."""
    chosen = plan(prepared([[day, day] for day in range(30) for _ in range(20)]), 1)
    assert (chosen.clock, int(chosen.hidden.sum()), len(chosen.hidden)) == (False, 0, 600)
    assert [w.cold for w in chosen.windows] == [False] * 2 + [True] * 5
    assert [w.role for w in chosen.windows[:2]] == [Role.TRAINING, Role.HELD_OUT]
