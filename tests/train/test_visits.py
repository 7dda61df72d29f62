"""What the two-tower model is trained on: the cuts of histories, worked out by hand."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from jobs.train.models.tower_parameters import TwoTowerParameters
from jobs.train.models.visits import Visits, positive

_ITEMS = 10
_WARM = TwoTowerParameters(cold_share=0.0, targets=5)


class _At:
    """A random generator that draws one number."""

    def __init__(self, number: float) -> None:
        self._number = number

    def random(self, size: int) -> Any:
        return np.full(size, self._number)


def _visits(actions: Sequence[tuple[int, int, int]], repeats: bool, by_visit: bool, weights: Any = None) -> Visits:
    """Make the training actions from tuples of user, item and time, in the order of the data set."""
    users, items, times = np.array(actions).T
    given = np.ones(len(users), np.float32) if weights is None else np.array(weights, np.float32)
    data: Any = SimpleNamespace(
        users=users,
        items=items,
        times=times,
        spec=SimpleNamespace(repeats=repeats, values=None),
        known=lambda until: np.flatnonzero(np.arange(len(users)) < until[users]),
        pairs=lambda rows: users[rows] * _ITEMS + items[rows],
        weights_of=lambda rows: given[rows],
    )
    until = np.full(users.max() + 1, len(users))
    return Visits.of(data, *positive(data, until), _WARM, by_visit)


def _cut(visits: Visits, at: float, user: int = 0) -> tuple[list[int], list[int]]:
    """Return history and targets of a user, cut at a share of the actions."""
    rng: Any = _At(at)
    history, weights, targets, _ = visits.rows(rng, np.array([user]), 100)
    return history[0][weights[0] > 0].tolist(), targets[0][targets[0] >= 0].tolist()


# Two baskets of a user, 1 2 3 and 2 4, and one action of another user.
_BASKETS = [(0, 1, 10), (0, 2, 10), (0, 3, 10), (0, 2, 20), (0, 4, 20), (1, 5, 15)]


def test_a_cut_lies_between_visits() -> None:
    visits = _visits(_BASKETS, repeats=True, by_visit=True)
    assert [_cut(visits, at) for at in (0.0, 0.2, 0.4)] == [([], [1, 2, 3, 4])] * 3
    assert [_cut(visits, at) for at in (0.6, 0.99)] == [([3, 2, 1], [2, 4])] * 2
    assert _cut(visits, 0.5, user=1) == ([], [5])


def test_without_visits_a_cut_may_lie_anywhere() -> None:
    visits = _visits(_BASKETS, repeats=True, by_visit=False)
    assert _cut(visits, 0.2) == ([1], [2, 3, 4])
    assert _cut(visits, 0.99) == ([2, 3, 1], [4])


def test_without_repeats_only_the_first_action_on_an_item_counts() -> None:
    visits = _visits(_BASKETS, repeats=False, by_visit=True)
    assert _cut(visits, 0.99) == ([3, 2, 1], [4])
    assert visits.items.tolist() == [1, 2, 3, 4, 5]


def test_an_item_counts_once_in_a_history_and_once_among_the_targets() -> None:
    visits = _visits([(0, 7, 1), (0, 7, 1), (0, 8, 2), (0, 7, 3), (0, 9, 4), (0, 7, 5)], repeats=True, by_visit=True)
    assert visits.items.tolist() == [7, 8, 7, 9, 7]
    assert _cut(visits, 0.0) == ([], [7, 8, 9])
    assert _cut(visits, 0.99) == ([9, 7, 8], [7])


def test_actions_without_a_positive_weight_teach_nothing() -> None:
    visits = _visits(_BASKETS, repeats=True, by_visit=True, weights=[1, 0, 1, 1, -1, 1])
    assert visits.items.tolist() == [1, 3, 2, 5]
    assert _cut(visits, 0.99) == ([3, 1], [2])
