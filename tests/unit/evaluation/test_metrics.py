"""Metrics against values that are worked out by hand."""

from math import log2

import numpy as np
import pytest

from recmesh.evaluation import errors, means, metrics, names, per_user
from recmesh.evaluation.metrics import of_ids

SECOND, THIRD = 1 / log2(3), 1 / log2(4)


def numbers(*items: int) -> "np.ndarray[tuple[int], np.dtype[np.int32]]":
    return np.array(items, np.int32)


def test_hits_at_ranks_two_and_three_of_three_wanted_items() -> None:
    found = per_user([(numbers(9, 4, 5), numbers(4, 5, 6))])
    np.testing.assert_allclose(found, [[2 / 3, 2 / 3, (SECOND + THIRD) / (1 + SECOND + THIRD)]])


def test_a_hit_beyond_rank_ten_counts_only_in_the_longer_recall() -> None:
    ranked = numbers(*range(100, 110), 4, *range(200, 290), 5)
    assert per_user([(ranked, numbers(4, 5))]).tolist() == [[0.0, 0.5, 0.0]]


def test_ten_hits_give_the_best_ndcg_even_if_more_items_are_wanted() -> None:
    assert of_ids(range(10), range(40), (10, 100)) == [0.25, 0.25, pytest.approx(1.0)]


def test_the_first_rank_of_a_duplicate_id_counts() -> None:
    assert of_ids(["x", "x", "a", "a"], ["a", "b"]) == [0.5, 0.5, pytest.approx(SECOND / (1 + SECOND))]


def test_an_empty_list_counts_as_zero_and_a_short_list_is_valid() -> None:
    assert of_ids([], ["a"]) == [0.0, 0.0, 0.0]
    assert of_ids(["a"], ["a"], (1, 2)) == [1.0, 1.0, 1.0]


def test_ids_and_item_numbers_give_equal_metrics() -> None:
    rng = np.random.default_rng(5)
    for _ in range(50):
        ranked, wanted = rng.permutation(300)[:150].astype(np.int32), rng.permutation(300)[: rng.integers(1, 40)]
        by_id = of_ids(map(str, ranked.tolist()), set(map(str, wanted.tolist())), (10, 50, 100))
        assert per_user([(ranked, wanted)], (10, 50, 100)).tolist() == [by_id]


def test_means_and_standard_errors() -> None:
    lists = [(numbers(1), numbers(1)), (numbers(1), numbers(2)), (numbers(3), numbers(3, 4)), (numbers(), numbers(1))]
    values = per_user(lists)
    assert means(values) == metrics(lists)
    assert metrics(lists)["recall@10"] == 0.375
    # Recalls 1, 0, 0.5, 0: variance (0.625^2 + 2 * 0.375^2 + 0.125^2) / 4 = 0.171875; its root over 4 users.
    assert errors(values)["recall@10"] == pytest.approx((0.171875 / 4) ** 0.5, abs=5e-6)
    assert names((5, 10)) == ("recall@5", "recall@10", "ndcg@10")


def test_without_users_all_metrics_are_zero() -> None:
    assert metrics([]) == {"recall@10": 0.0, "recall@100": 0.0, "ndcg@10": 0.0}
    assert errors(per_user([])) == metrics([])
