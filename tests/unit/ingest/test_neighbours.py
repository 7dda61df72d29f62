"""The neighbours of a starter: how many users two items share, relative to how many each has."""

from typing import Any

import numpy as np
import pytest

from jobs.ingest import neighbours
from jobs.ingest.neighbours import SHRINKAGE, cosine_lists


def lists_of(baskets: dict[int, list[int]], users: int, items: int) -> list[list[tuple[int, Any]]]:
    pairs = [(user, item) for user, bought in sorted(baskets.items()) for item in bought]
    columns = [np.array(column, np.int32) for column in zip(*pairs, strict=True)]
    found = cosine_lists(columns[0], columns[1], users, items)
    assert found.fit(items)
    spans = zip(found.start[:-1].tolist(), found.start[1:].tolist(), strict=True)
    return [list(zip(found.items[a:b].tolist(), found.scores[a:b].tolist(), strict=True)) for a, b in spans]


def test_the_scores_are_those_computed_by_hand() -> None:
    # Users 0 and 4, and item 4, have nothing.
    found = lists_of({1: [0, 1, 2], 2: [0, 1], 3: [0, 3]}, users=5, items=5)
    a, b, c = (np.sqrt(n) + SHRINKAGE for n in (6, 3, 2))  # of items with 3 and 2, 3 and 1, 2 and 1 users
    assert found == [
        [(1, pytest.approx(2 / a)), (2, pytest.approx(1 / b)), (3, pytest.approx(1 / b))],
        [(0, pytest.approx(2 / a)), (2, pytest.approx(1 / c))],
        [(1, pytest.approx(1 / c)), (0, pytest.approx(1 / b))],
        [(0, pytest.approx(1 / b))],
        [],
    ]


def test_a_list_has_the_best_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "LENGTH", 1)
    found = lists_of({0: [0, 1, 2], 1: [0, 2]}, users=2, items=3)
    assert [[item for item, _ in neighbour] for neighbour in found] == [[2], [0], [0]]
