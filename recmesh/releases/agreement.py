"""Whether two runtimes of one model agree. docs/adr/028 explains the bound.

Float32 rounds a sum in proportion to its terms, not to its result: a score near 0 may be the difference of two terms in
the tens. The bound is therefore relative to the scale of a list, a size that a tenth of its scores reach. The largest
score would be no measure, since one outlier would hide errors in all others; an outlier's own bound follows its size.
"""

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

Outputs = npt.NDArray[np.floating]

TOLERANCE = 5e-5
"""Largest difference of two scores, relative to the scale. Rounding takes up to a sixth of it on real data."""


def typical_scale(lists: Iterable[Outputs]) -> float:
    """Return the scale of a model: the median of the scales of its outputs for some requests.

    A single score may be 0 by chance, so a list's own scale is not enough for short lists.
    """
    return _quantile([_scale(outputs) for outputs in lists], 0.5)


def difference(expected: Outputs, got: Outputs, scale: float = 1.0) -> float:
    """Return the largest difference of two outputs of the same shape, relative to the scale of `expected`.

    It is 0 for equal or empty outputs, and NaN if an output contains NaN or an infinity.

    Args:
        expected: The recorded outputs: scores [N] or vectors [N, dim].
        got: The outputs to compare.
        scale: The least scale of a list; see `typical_scale`.
    """
    scales = _scales(expected, scale)
    with np.errstate(invalid="ignore"):  # the difference of infinities is NaN
        distance = _sizes(expected.astype(np.float64) - got)
        relative = np.divide(distance, scales, out=np.where(distance == 0, 0.0, np.inf), where=scales > 0)
    return float(np.where(np.isfinite(distance), relative, np.nan).max(initial=0.0))


def disagreement(expected: Outputs, got: Outputs, tolerance: float = TOLERANCE, scale: float = 1.0) -> str:
    """Say how the outputs of two runtimes differ. Scores must also put the items in the same order.

    Only items whose scores differ by no more than the tolerance may change places.

    Args:
        expected: The recorded outputs: scores [N] or vectors [N, dim].
        got: The outputs to compare.
        tolerance: The largest difference, relative to the scale of `expected`.
        scale: The least scale of a list; see `typical_scale`.

    Returns:
        A clause that follows the name of the output, or nothing if the runtimes agree.
    """
    if expected.shape != got.shape:
        return f"has the shape {list(got.shape)} instead of {list(expected.shape)}"
    found = difference(expected, got, scale)
    if not found <= tolerance:  # this form also refuses NaN
        return f"differs by {found:.2g} of the scores' scale, more than {tolerance:g}"
    if expected.ndim == 1 and not _same_order(expected, got, tolerance * _scales(expected, scale)):
        return "sorts the items differently"
    return ""


def _same_order(expected: Outputs, got: Outputs, bounds: Outputs) -> bool:
    order = np.argsort(-got, kind="stable")
    ordered = expected[order].astype(np.float64)
    # Every item against the lowest of those that `got` places above it.
    return bool((ordered - np.minimum.accumulate(ordered) <= bounds[order]).all())


def _scales(expected: Outputs, scale: float) -> Outputs:
    """The scale of each output: its own size, or that of the list if it is larger."""
    return np.maximum(_sizes(expected), max(scale, _scale(expected)))


def _scale(outputs: Outputs) -> float:
    return _quantile(_sizes(outputs), 0.9)


def _sizes(outputs: Outputs) -> Outputs:
    """The absolute value of each score, or the length of each vector."""
    values = outputs.astype(np.float64)
    return np.abs(values) if values.ndim == 1 else np.linalg.norm(values, axis=1)


def _quantile(values: npt.ArrayLike, share: float) -> float:
    """The smallest of some values that at least a share of them do not exceed; 0 of nothing."""
    ordered = np.sort(np.asarray(values, np.float64))
    return float(ordered[math.ceil(share * len(ordered)) - 1]) if len(ordered) else 0.0
