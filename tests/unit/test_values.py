"""Which actions are positive, how much they count, and what returns take back."""

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recmesh.values import ActionWeights, ValueRule, taken_back

Row = tuple[int, int, float]
"""Pair, time, value."""


def weights_of(
    rows: Sequence[Row], rule: ValueRule, kinds: list[int] | None = None, types: tuple[float, ...] = (1,)
) -> list[float]:
    """Return the weights of actions in the given order."""
    pairs, times, values = (np.array(column) for column in zip(*rows, strict=True))
    weigh = ActionWeights.of({str(number): weight for number, weight in enumerate(types)}, rule)
    found = weigh(pairs, times, np.array(kinds or [0] * len(rows), np.int8), values.astype(np.float32))
    assert found.dtype == np.float32
    return [round(weight, 4) for weight in found.tolist()]


@pytest.mark.parametrize(
    ("condition", "positive"),
    [
        ("> 0", [1, 4, 4.1, 5]),
        (">=4", [4, 4.1, 5]),
        (">= 4.1", [4.1, 5]),
        (" == 4 ", [4]),
        ("< 1", [-1, 0]),
        ("<= -.5e0", [-1]),
        ("> -2", [-1, 0, 1, 4, 4.1, 5]),
    ],
)
def test_a_condition_says_which_values_are_positive(condition: str, positive: list[float]) -> None:
    values = np.array([-1, 0, 1, 4, 4.1, 5], np.float32)
    rule = ValueRule.parse(condition)
    assert values[rule.positive(values)].tolist() == np.array(positive, np.float32).tolist()
    assert ValueRule.parse(str(rule)) == rule


@pytest.mark.parametrize(
    ("condition", "unknown"),
    [("> 0", 1), (">= 4", 4), ("> 4", 4.0000005), ("<= 0", 0), ("< 1", 0.99999994), ("== 3", 3), (">= -5", 1)],
)
def test_a_missing_value_is_positive_and_1_if_it_can_be(condition: str, unknown: float) -> None:
    rule = ValueRule.parse(condition)
    assert np.float32(rule.unknown) == np.float32(unknown)
    assert rule.positive(np.array([rule.unknown], np.float32)).all()


@pytest.mark.parametrize("text", ["4", "", "> four", ">= 1e99", "=> 4", "> 1 2", "> nan", "> inf", "> １"])
def test_anything_else_is_not_a_condition(text: str) -> None:
    with pytest.raises(ValueError, match='is not a condition; write a comparison and a number, such as ">= 4"'):
        ValueRule.parse(text)


def test_without_weighting_all_positive_actions_weigh_the_same() -> None:
    assert weights_of([(1, 1, 5), (2, 1, 1), (3, 1, 0), (4, 1, 4)], ValueRule.parse(">= 4")) == [1, 0, 0, 1]


def test_weighted_actions_weigh_the_logarithm_of_their_value_by_its_mean() -> None:
    rule = ValueRule(weighted=True, mean=2.0)
    # log2(1 + value) is 1, 2, 3 and 10.
    assert weights_of([(1, 1, 1), (2, 1, 3), (3, 1, 7), (4, 1, 1023), (5, 1, 0)], rule) == [0.5, 1, 1.5, 5, 0]


def test_the_weight_of_the_type_multiplies_that_of_the_value() -> None:
    rows = [(1, 1, 3.0), (2, 1, 3.0), (3, 1, -1.0), (4, 1, 1.0)]
    assert weights_of(rows, ValueRule(weighted=True), [0, 1, 1, -1], (1, 4)) == [0.5, 2, 0, 0.25]


def test_a_return_takes_back_the_purchase_before_it_and_no_other() -> None:
    rows = [
        (1, 10, 1),  # bought, and returned at 20
        (1, 20, -1),
        (1, 30, 1),  # bought again afterwards
        (2, 10, 1),  # another item or user
        (3, 10, -1),  # returned without a purchase
        (3, 20, 1),
    ]
    assert weights_of(rows, ValueRule()) == [0, 0, 1, 1, 0, 1]
    assert weights_of(rows[::-1], ValueRule()) == [1, 0, 1, 1, 0, 0]


def test_returns_take_back_the_newest_purchases_up_to_their_amount() -> None:
    assert weights_of([(1, 1, 1), (1, 2, 1), (1, 3, -1)], ValueRule()) == [1, 0, 0]
    assert weights_of([(1, 1, 1), (1, 2, 1), (1, 3, -2)], ValueRule()) == [0, 0, 0]
    assert weights_of([(1, 1, 1), (1, 2, 3), (1, 3, -1)], ValueRule()) == [1, 1, 0]
    assert weights_of([(1, 1, 3), (1, 2, -1), (1, 3, -1), (1, 4, -1)], ValueRule()) == [0, 0, 0, 0]
    assert weights_of([(1, 1, 1.1), (1, 2, 1.1), (1, 3, 1.1), (1, 4, -3.3)], ValueRule()) == [0, 0, 0, 0]


def test_a_return_at_the_time_of_the_purchase_comes_after_it() -> None:
    assert weights_of([(1, 5, -1), (1, 5, 1)], ValueRule()) == [0, 0]
    assert weights_of([(1, 5, 1), (1, 5, -1)], ValueRule()) == [0, 0]


def test_a_return_takes_back_actions_of_its_own_type() -> None:
    rows = [(1, 1, 1.0), (1, 2, 1.0), (1, 3, -1.0)]
    view, order, refund = 0, 1, 2
    assert weights_of(rows, ValueRule(), [order, view, order], (0.5, 1)) == [0, 0.5, 0]
    # A type without weight is one of returns only: they take back actions of the heaviest type.
    assert weights_of(rows, ValueRule(), [order, view, refund], (0.5, 1, 0)) == [0, 0.5, 0]
    assert weights_of(rows, ValueRule(), [view, view, order], (0.5, 1)) == [0.5, 0.5, 0]


def test_negative_values_that_are_positive_are_no_returns() -> None:
    assert weights_of([(1, 1, 9), (1, 2, -3)], ValueRule.parse("> -5")) == [1, 1]
    # A later dislike takes back as much as it is worth.
    assert weights_of([(1, 1, 6), (1, 2, -7)], ValueRule.parse("> -5")) == [0, 0]


_ROWS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 8), st.integers(-3, 3).map(float)), min_size=1, max_size=30
)


@given(_ROWS)
@settings(max_examples=200, deadline=None)
def test_returns_agree_with_a_stack_of_purchases(rows: list[Row]) -> None:
    pairs, times, values = (np.array(column) for column in zip(*rows, strict=True))
    back, unmatched = taken_back(pairs, times, values.astype(np.float32), values < 0)
    left: dict[int, float] = {}
    stacks: defaultdict[int, list[int]] = defaultdict(list)
    found_none = set()
    # In order of time, purchases before returns; of purchases at one time, the first row is returned first.
    for row in sorted(range(len(rows)), key=lambda row: (times[row], values[row] < 0, -row)):
        pair, _, value = rows[row]
        if value > 0:
            stacks[pair].append(row)
            left[row] = value
            continue
        found_none |= {row} if value < 0 and not stacks[pair] else set()
        while value < 0 and stacks[pair]:
            taken = min(left[stacks[pair][-1]], -value)
            left[stacks[pair][-1]] -= taken
            value += taken
            if not left[stacks[pair][-1]]:
                stacks[pair].pop()
    assert np.flatnonzero(back).tolist() == sorted(row for row, amount in left.items() if not amount)
    # Several returns that follow one another share what is before them.
    assert set(np.flatnonzero(unmatched).tolist()) <= found_none


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(-3, 3).map(float)), min_size=1, max_size=30), st.data())
@settings(max_examples=200, deadline=None)
def test_a_cut_history_has_the_weights_of_the_whole(actions: list[tuple[int, float]], data: st.DataObject) -> None:
    rows = [(pair, time, value) for time, (pair, value) in enumerate(actions)]
    cut = data.draw(st.integers(0, len(rows) - 1))
    whole = weights_of(rows, ValueRule())
    # The newest actions decide alone: what came before them does not matter.
    assert weights_of(rows[cut:], ValueRule()) == whole[cut:]
    # The actions before a cut-off know no later returns, and lose weight only by them.
    known = weights_of(rows[: cut + 1], ValueRule())
    assert all(after in (before, 0) for before, after in zip(known, whole, strict=False))


def test_weights_are_finite_for_any_value() -> None:
    rule = ValueRule(weighted=True)
    largest = float(np.finfo(np.float32).max)
    rows = [(1, 1, largest), (1, 2, -largest), (2, 1, largest), (3, 1, 1e-30)]
    assert all(map(math.isfinite, weights_of(rows, rule)))
    assert weights_of(rows, rule)[0] == 0
