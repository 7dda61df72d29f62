"""The popularity of items: measured where there are actions, else expected from the fields."""

import numpy as np
import pytest

from jobs.train.models.popularity import item_popularity


def test_popularity_is_the_smoothed_share_of_the_actions() -> None:
    found = item_popularity(np.array([7.0, 1.0]), np.zeros(2, bool), np.full((2, 1), -1), 1)
    assert np.exp(found.measured).tolist() == pytest.approx([8 / 10, 2 / 10])


def test_without_fields_an_item_without_actions_is_expected_to_be_average() -> None:
    found = item_popularity(np.array([30.0, 10.0, 0.0]), np.zeros(3, bool), np.full((3, 1), -1), 1)
    assert np.exp(found.measured).tolist() == pytest.approx([31 / 43, 11 / 43, 20 / 43])
    assert np.exp(found.base) == pytest.approx(20 / 43)


def test_the_expected_popularity_depends_on_the_fields() -> None:
    """Ten items of a code count as much as the prior, so the expectation lies halfway between theirs and the mean.

    By hand: the mean mass is 20, and both codes have ten items, of mass 30 and 10. With ten further items of mass 20,
    the means are 25 and 15. Two items without actions follow, one of each code, and one with a missing value.
    """
    mass = np.array([30.0] * 10 + [10.0] * 10 + [0.0] * 3)
    rows = np.array([0] * 10 + [1] * 10 + [0, 1, -1])[:, None]
    found = item_popularity(mass, np.zeros(len(mass), bool), rows, 3)
    total = mass.sum() + len(mass)
    assert (np.exp(found.measured[-3:]) * total).tolist() == pytest.approx([25, 15, 20], rel=1e-3)
    assert np.exp(found.effects).tolist() == pytest.approx([1.25, 0.75, 1], rel=1e-3)


def test_fields_that_repeat_each_other_do_not_count_twice() -> None:
    """Two equal columns explain the same difference as one: the masses 40 and 10 of 5,000 items each."""
    mass = np.array([40.0] * 5000 + [10.0] * 5000)
    once = np.repeat([0, 1], 5000)[:, None]
    found = item_popularity(mass, np.zeros(len(mass), bool), np.concatenate([once, once + 2], 1), 4)
    both = np.exp(found.base + found.effects[[0, 1]] + found.effects[[2, 3]]) * (mass.sum() + len(mass))
    assert both.tolist() == pytest.approx([40, 10], rel=0.01)


def test_no_actions_at_all_give_equal_popularities() -> None:
    found = item_popularity(np.zeros(4), np.ones(4, bool), np.zeros((4, 1), np.int64), 1)
    assert np.exp(found.measured).tolist() == pytest.approx([1 / 4] * 4)


def test_a_new_item_is_not_judged_by_its_first_few_actions() -> None:
    """Three items have a mass of 2; the mean is 22. A new item keeps it, unless it has more than expected already."""
    found = item_popularity(
        np.array([2.0, 2.0, 2.0, 82.0]), np.array([False, True, False, True]), np.full((4, 1), -1), 1
    )
    assert np.exp(found.measured).tolist() == pytest.approx([3 / 92, 22 / 92, 3 / 92, 83 / 92])
