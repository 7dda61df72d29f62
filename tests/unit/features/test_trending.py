"""Rates of actions by their counts in buckets of five minutes."""

import numpy as np
import pytest

from recmesh.features.trending import action_rates

HOUR, DAY = 12, 288


def geometric(half_life: int) -> float:
    """The sum of 0.5 ** (age / half_life) over the ages of a day."""
    ratio: float = 0.5 ** (1 / half_life)
    return (1 - ratio**DAY) / (1 - ratio)


def rates(*counts: tuple[int, int, float], size: int = 3) -> list[float]:
    """The rates by (item, bucket, weight)."""
    items, buckets, weights = (np.array(column) for column in zip(*counts, strict=True))
    counted = items.astype(np.int32), buckets.astype(np.int64), weights
    found: list[float] = action_rates(*counted, size, int(buckets.max())).tolist()
    return found


def test_a_constant_stream_has_its_own_rate() -> None:
    assert rates(*((1, bucket, 2.0) for bucket in range(5000, 5000 + DAY))) == pytest.approx([0, 24, 0])


def test_an_action_of_now_adds_to_both_rates() -> None:
    now = 12 / geometric(HOUR) / 2 + 12 / geometric(DAY) / 2
    assert rates((0, 7000, 1.0)) == pytest.approx([now, 0, 0])
    assert rates((0, 7000, 1.0), (0, 7000, 2.5), (2, 7000, 0.5)) == pytest.approx([3.5 * now, 0, 0.5 * now])
    assert now == pytest.approx(0.366, abs=0.001)


def test_the_weight_of_an_action_halves_in_an_hour_and_in_a_day() -> None:
    an_hour_ago = 12 / geometric(HOUR) / 2 / 2 + 12 / geometric(DAY) / 2 * 0.5 ** (1 / 24)
    almost_a_day_ago = 12 / geometric(HOUR) / 2 * 0.5 ** (287 / 12) + 12 / geometric(DAY) / 2 * 0.5 ** (287 / 288)
    found = rates((0, 7000, 0.0), (1, 7000 - HOUR, 1.0), (2, 7000 - DAY + 1, 1.0))
    assert found == pytest.approx([0, an_hour_ago, almost_a_day_ago])


def test_an_action_of_a_day_ago_counts_no_longer() -> None:
    assert rates((0, 7000, 0.0), (1, 7000 - DAY, 1.0), (2, 3, 1.0)) == [0, 0, 0]


def test_a_burst_of_this_hour_is_before_an_item_that_sells_all_day() -> None:
    steady = [(0, 7000 - age, 1.0) for age in range(DAY)]
    burst = [(1, 7000 - age, 5.0) for age in range(HOUR)]
    old_burst = [(2, 7000 - DAY // 2 - age, 5.0) for age in range(HOUR)]
    first, second, third = rates(*steady, *burst, *old_burst)
    assert second > first > third > 0


def test_parts_add_up() -> None:
    older, newest = np.array([0, 1, 1], np.int32), np.array([1, 2], np.int32)
    parts = [action_rates(older, 6990, np.ones(3), 3, 7000), action_rates(newest, 7000, np.ones(2), 3, 7000)]
    every = rates((0, 6990, 1.0), (1, 6990, 2.0), (1, 7000, 1.0), (2, 7000, 1.0))
    assert sum(parts).tolist() == pytest.approx(every)  # type: ignore[union-attr]


def test_without_actions_there_are_no_rates() -> None:
    assert action_rates(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0), 2, 0).tolist() == [0, 0]
