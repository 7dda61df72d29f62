"""What counts as agreement of two runtimes of one model."""

from collections.abc import Callable

import numpy as np
import pytest

from recmesh.features.spec import Floats
from recmesh.releases.agreement import difference, disagreement, typical_scale

ROWS, INPUTS = 300, 60
SCALES = (1e-4, 1.0, 30.0, 1e4)


def inputs(seed: int = 1) -> Floats:
    """Standardised inputs of a list."""
    return np.random.default_rng(seed).normal(size=(ROWS, INPUTS)).astype(np.float32)


def weights(scale: float) -> Floats:
    """Weights of a linear ranker whose scores have a scale."""
    drawn: Floats = (np.random.default_rng(2).normal(size=INPUTS) * scale / np.sqrt(INPUTS)).astype(np.float32)
    return drawn


def forwards(x: Floats, w: Floats) -> Floats:
    """Sum in float32, from the first input to the last."""
    scores: Floats = np.cumsum(x * w, axis=1, dtype=np.float32)[:, -1]
    return scores


def backwards(x: Floats, w: Floats) -> Floats:
    """Sum in float32, from the last input to the first: what another runtime may do."""
    return forwards(x[:, ::-1], w[::-1])


@pytest.mark.parametrize("scale", SCALES)
def test_runtimes_that_add_in_another_order_agree_at_any_scale(scale: float) -> None:
    lists = [inputs(seed) for seed in range(20)]
    expected = [forwards(x, weights(scale)) for x in lists]
    typical = typical_scale(expected)
    for x, scores in zip(lists, expected, strict=True):
        other = backwards(x, weights(scale))
        assert not np.array_equal(other, scores)
        assert disagreement(scores, other, scale=typical) == ""
        for row in range(ROWS):  # a single score may be close to 0 although its terms are large
            assert disagreement(scores[row : row + 1], other[row : row + 1], scale=typical) == ""


def permuted(x: Floats, w: Floats) -> Floats:
    """Two weights are exchanged."""
    return backwards(x, w[[1, 0, *range(2, INPUTS)]])


def without_a_column(x: Floats, w: Floats) -> Floats:
    """A column is missing."""
    return backwards(x[:, 1:], w[1:])


def scaled(x: Floats, w: Floats) -> Floats:
    """All scores are 0.01 % too large."""
    return backwards(x, w * np.float32(1.0001))


def shifted(x: Floats, w: Floats) -> Floats:
    """The bias is wrong by 0.1 % of the scale."""
    scores = backwards(x, w)
    scores += np.float32(1e-3) * np.abs(scores).mean()
    return scores


def another_list(x: Floats, w: Floats) -> Floats:
    """The scores belong to other items."""
    return np.roll(backwards(x, w), 1)


def one_row_wrong(x: Floats, w: Floats) -> Floats:
    """One score of 300 is wrong."""
    scores = backwards(x, w)
    scores[7] *= np.float32(-1)
    return scores


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("wrong", [permuted, without_a_column, scaled, shifted, another_list, one_row_wrong])
def test_a_wrong_export_is_refused_at_any_scale(wrong: Callable[[Floats, Floats], Floats], scale: float) -> None:
    expected = forwards(inputs(), weights(scale))
    fault = disagreement(expected, wrong(inputs(), weights(scale)), scale=typical_scale([expected]))
    assert "of the scores' scale, more than 5e-05" in fault


def test_scores_near_0_are_judged_by_the_scale_of_their_list() -> None:
    """Debiased scores of MovieLens latest-small: terms in the hundreds cancel, and a score near 0 is 3.1e-5 off."""
    expected = np.append(np.linspace(-3, 3, 99), 1e-3).astype(np.float32)
    off = expected + np.append(np.zeros(99), 3.1e-5).astype(np.float32)
    assert difference(expected, off, scale=0) == pytest.approx(3.1e-5 / 2.75, rel=0.03)
    assert disagreement(expected, off, scale=0) == ""
    alone, moved = expected[99:], off[99:]
    assert "differs by 0.031 of" in disagreement(alone, moved, scale=0)
    assert disagreement(alone, moved, scale=typical_scale([expected, alone, expected])) == ""


def test_an_outlier_does_not_widen_the_bound_of_the_others() -> None:
    expected = np.append(np.arange(20) / 10, 1e6).astype(np.float32)  # the scale is 1.8
    outlier, other = np.zeros(21, np.float32), np.zeros(21, np.float32)
    outlier[-1], other[3] = 10, 1e-3
    assert disagreement(expected, expected + outlier, scale=0) == ""
    assert difference(expected, expected + outlier, scale=0) == pytest.approx(1e-5)
    assert disagreement(expected, expected + other, scale=0) == (
        "differs by 0.00056 of the scores' scale, more than 5e-05"
    )


def test_only_scores_within_the_bound_may_change_order() -> None:
    expected = np.array([1, 0.5, 0.5 - 9e-6, 0.1])
    assert disagreement(expected, np.array([1, 0.5 - 9e-6, 0.5, 0.1]), 1e-5) == ""
    apart, close = np.array([1, 0.5, 0.5 - 1.8e-5, 0.1]), np.array([1, 0.5 - 9.5e-6, 0.5 - 9e-6, 0.1])
    assert difference(apart, close) < 1e-5
    assert disagreement(apart, close, 1e-5) == "sorts the items differently"
    assert disagreement(apart[:, None], close[:, None], 1e-5) == "", "vectors have no order"


def test_items_far_apart_do_not_change_places_through_a_chain_of_close_ones() -> None:
    expected = 1 - np.arange(4) * 0.9e-5
    turned = 1 - 1.35e-5 + np.arange(4) * 1e-9
    assert difference(expected, turned) < 1.4e-5
    assert disagreement(expected, turned, tolerance=1.4e-5) == "sorts the items differently"
    assert disagreement(expected, turned, tolerance=2.8e-5) == ""


@pytest.mark.parametrize("strange", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(strange: float) -> None:
    good, bad = np.array([1, 2], np.float32), np.array([1, strange], np.float32)
    for expected, got in ((good, bad), (bad, good), (bad, bad)):
        assert disagreement(expected, got) == "differs by nan of the scores' scale, more than 5e-05"


def test_another_shape_is_refused() -> None:
    assert disagreement(np.zeros(2), np.zeros(3)) == "has the shape [3] instead of [2]"
    assert disagreement(np.zeros((2, 1)), np.zeros(2)) == "has the shape [2] instead of [2, 1]"


def test_nothing_and_zeros_agree_with_themselves() -> None:
    for outputs in (np.zeros(0, np.float32), np.zeros(3, np.float32), np.zeros((2, 4), np.float32)):
        assert disagreement(outputs, outputs, scale=0) == ""
    assert "differs by inf" in disagreement(np.zeros(3), np.array([0, 1e-9, 0]), scale=0)


def test_vectors_are_compared_by_their_length() -> None:
    expected = np.array([[30, 40], [3, 4]], np.float32)  # lengths 50 and 5
    assert difference(expected, expected + np.array([[3e-4, 4e-4], [0, 0]], np.float32)) == pytest.approx(
        1e-5, rel=0.02
    )
    assert difference(expected, expected[:, ::-1]) == pytest.approx(np.sqrt(200) / 50)
    assert typical_scale([expected, expected[1:], expected[1:]]) == 5.0
