"""Extended vectors, the recall of a search, and the choice of its width."""

import numpy as np
import pytest

from recmesh.errors import RecmeshError
from recmesh.stores.ann import EF_LADDER, Vectors, extended, extended_queries, longest, recall, smallest_ef

ITEMS = [f"i{number}" for number in range(50)]
VECTORS = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
QUERIES = np.random.default_rng(1).normal(size=(40, 4)).astype(np.float32)


def _best(queries: Vectors, limit: int) -> list[list[str]]:
    return [[ITEMS[item] for item in row[:limit]] for row in np.argsort(-queries @ VECTORS.T, axis=1)]


def test_extended_vectors_have_equal_lengths_and_the_same_inner_products() -> None:
    radius = longest(VECTORS)
    stored, queries = extended(VECTORS, radius), extended_queries(QUERIES)
    np.testing.assert_allclose(np.linalg.norm(stored, axis=1), radius, rtol=1e-5)
    np.testing.assert_allclose(queries @ stored.T, QUERIES @ VECTORS.T, rtol=1e-5, atol=1e-6)
    longer = extended(VECTORS * 2, radius)
    np.testing.assert_array_equal(longer[np.linalg.norm(VECTORS * 2, axis=1) > radius, -1], 0)


def test_recall_is_the_share_of_the_best_items_that_was_found() -> None:
    exact = _best(QUERIES, 10)
    assert recall(exact, ITEMS, VECTORS, QUERIES, 10) == 1
    assert recall([ids[:7] for ids in exact], ITEMS, VECTORS, QUERIES, 10) == pytest.approx(0.7)
    worst = [ids[-10:] for ids in _best(QUERIES, 50)]
    assert recall(worst, ITEMS, VECTORS, QUERIES, 10) == 0


def test_items_just_below_the_best_ones_do_not_count() -> None:
    """Ranks 6 to 15, of which five are among the ten best."""
    shifted = [ids[5:15] for ids in _best(QUERIES, 50)]
    assert recall(shifted, ITEMS, VECTORS, QUERIES, 10) == pytest.approx(0.5)


def test_an_item_with_the_same_score_as_the_last_best_item_counts() -> None:
    vectors = np.ones((50, 4), np.float32)
    assert recall([ITEMS[-3:]], ITEMS, vectors, np.ones((1, 4), np.float32), 3) == 1


def test_the_smallest_sufficient_width_is_chosen() -> None:
    def search(queries: Vectors, limit: int, ef: int) -> list[list[str]]:
        return _best(queries, limit if ef >= EF_LADDER[2] else limit - 2)

    ef, measured = smallest_ef(search, ITEMS, VECTORS, QUERIES, limit=10)
    assert ef == EF_LADDER[2]
    assert measured == {EF_LADDER[0]: pytest.approx(0.8), EF_LADDER[1]: pytest.approx(0.8), EF_LADDER[2]: 1}


def test_no_width_is_chosen_if_none_is_sufficient() -> None:
    ef, measured = smallest_ef(lambda queries, limit, _: _best(queries, limit // 2), ITEMS, VECTORS, QUERIES, limit=10)
    assert ef is None
    assert tuple(measured) == EF_LADDER


def test_a_measurement_without_queries_is_an_error() -> None:
    with pytest.raises(RecmeshError, match="no queries"):
        recall([], ITEMS, VECTORS, QUERIES[:0], 10)
