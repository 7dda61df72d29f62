"""Neighbour lists: the ridge weights of each item."""

from typing import Any

import pytest

from tests.train.conftest import inside

# The expected ridge weights of each target come from one dense system over all other items. The lists are computed with
# all items, some items and no items in the head, whose systems use an exact matrix of counts.
_WEIGHTS = """
import json
import numpy as np
from scipy import sparse
from jobs.train.data import neighbours
rng = np.random.default_rng(1)
users, items = 900, 60
taste = rng.integers(4, size=users)
chance = np.where(taste[:, None] == np.arange(items) % 4, 0.2, 0.04) * np.linspace(2, 0.5, items)
dense = (rng.random((users, items)) < chance).astype(np.float32)
matrix, gram = sparse.csr_matrix(dense), dense.T @ dense
expected = np.zeros((items, items))
for target in range(items):
    others = np.flatnonzero((gram[target] > 0) & (np.arange(items) != target))
    left = gram[np.ix_(others, others)] + neighbours.PARAMETERS.shrinkage(matrix).ridge * np.eye(len(others))
    expected[others, target] = np.linalg.solve(left, gram[others, target])
found = {}
for head in (items, 20, 0):
    _, ridge = neighbours.neighbour_lists(matrix, neighbours.NeighbourParameters(head_items=head))
    source = np.repeat(np.arange(items), np.diff(ridge.start))
    weights = np.zeros((items, items))
    weights[source, ridge.items] = ridge.scores
    found[head] = weights.tolist()
print(json.dumps({"expected": expected.tolist(), "found": found, "users": dense.sum(0).tolist()}))
"""


@pytest.fixture(scope="module")
def weights() -> dict[str, Any]:
    found: dict[str, Any] = inside(_WEIGHTS)
    return found


def test_items_outside_the_head_are_regressed_on_all_their_neighbours(weights: dict[str, Any]) -> None:
    expected, users = weights["expected"], weights["users"]
    enough = [item for item, count in enumerate(users) if count >= 50]
    few = [item for item, count in enumerate(users) if count < 50]
    assert len(enough) > 30 and few
    for target in enough:
        found = [row[target] for row in weights["found"]["0"]]
        assert found == pytest.approx([row[target] for row in expected], abs=2e-4)
    for target in few:
        assert not any(row[target] for row in weights["found"]["0"])


def test_the_items_of_the_head_are_regressed_on_each_other(weights: dict[str, Any]) -> None:
    head = sorted(range(60), key=lambda item: -weights["users"][item])[:20]
    found = weights["found"]["20"]
    assert all(found[source][target] == 0 for target in head for source in range(60) if source not in head)
    everywhere = weights["found"]["60"]
    for target in range(60):
        assert [row[target] for row in everywhere] == pytest.approx(
            [row[target] for row in weights["expected"]], abs=2e-4
        )


_HEAVY = """
import json
import numpy as np
from jobs.train.data.counts import MAX_ITEMS_PER_USER
from jobs.train.data.statistics import matrix_of
users = np.repeat([0, 1, 2], [3, 4000, 2])
items = np.concatenate([[0, 1, 2], np.arange(4000), [5, 6]])
matrix = matrix_of(users, items, 3, 5000)
print(json.dumps({"limit": MAX_ITEMS_PER_USER, "rows": [row.indices.tolist() for row in matrix]}))
"""


def test_the_items_that_count_of_a_heavy_user_say_nothing_about_ids() -> None:
    found = inside(_HEAVY)
    first, heavy, last = found["rows"]
    assert (sorted(first), sorted(last)) == ([0, 1, 2], [5, 6])
    assert len(set(heavy)) == found["limit"]
    # Of the items 0 to 3,999: mean 1,999.5, standard deviation 1,154.7.
    assert sum(heavy) / len(heavy) == pytest.approx(1999.5, abs=4 * 1154.7 / found["limit"] ** 0.5)
