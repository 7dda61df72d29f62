"""The wide part of the ranker: a linear conditional logit over each user's list, fitted by L-BFGS with sign bounds.

Weights of popularity, lifts, neighbour scores and the like are held at 0 or above: a free fit on a few moments learns
their trends (one popularity against another), and loses on the next moment.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import minimize

from jobs.train.data.rows import Rows
from jobs.train.models import logistic
from recmesh.features.spec import Array, Floats, Longs, Mask

Loss = Literal["listwise", "pointwise"]

LISTWISE: Loss = "listwise"
"""Softmax over each list."""

POINTWISE: Loss = "pointwise"
"""Logistic of each row: better where users want very many of their candidates."""

_STEPS = 80
_POINTWISE = 0.02
PENALTIES = (5e-2, 5e-3)
"""Strengths of the penalty on the squares of the weights that are worth trying, on the scale of the listwise loss."""

_LEAST_DEVIATION = 1e-4


@dataclass(frozen=True)
class Wide:
    """score = (dense - mean) / scale @ weights; scale is 1 and the weight 0 where an input does not vary."""

    mean: Floats
    scale: Floats
    weights: Floats

    @classmethod
    def nothing(cls, width: int) -> "Wide":
        """One that scores every row 0."""
        return cls(np.zeros(width, np.float32), np.ones(width, np.float32), np.zeros(width, np.float32))

    @classmethod
    def only(cls, width: int, column: int) -> "Wide":
        """One that scores a row by one of its inputs."""
        one = cls.nothing(width)
        one.weights[column] = 1.0
        return one

    def __call__(self, dense: Floats) -> Floats:
        scores: Floats = (((dense - self.mean) / self.scale) @ self.weights).astype(np.float32)
        return scores

    def parts(self, dense: Floats) -> Floats:
        """What each input adds to the score, float32 [N, D]."""
        added: Floats = ((dense - self.mean) / self.scale * self.weights).astype(np.float32)
        return added


@dataclass(frozen=True)
class Standard:
    """The inputs of some rows brought to mean 0 and deviation 1, x float32 [N, D], with their mean and scale.

    Those that do not vary (`varies` bool [D]) are 0 throughout, so that a penalty leaves their weight at 0.
    """

    x: Floats
    mean: Floats
    scale: Floats
    varies: Mask

    @classmethod
    def of(cls, dense: Floats) -> "Standard":
        mean, deviation = dense.mean(0, np.float64), dense.std(0, dtype=np.float64)
        varies = deviation > _LEAST_DEVIATION
        center, scale = mean.astype(np.float32), np.where(varies, deviation, 1.0).astype(np.float32)
        return cls((dense - center) / scale * varies, center, scale, varies)


class Fit:
    """Fits to one segment's rows, with one choice of inputs and penalty after another; `bounded`: the inputs whose
    weight must not be negative."""

    def __init__(self, rows: Rows, bounded: Sequence[bool]) -> None:
        self._rows, self._bounded = rows, bounded
        self._inputs = Standard.of(rows.dense) if len(rows.labels) else None
        self._found: dict[tuple[bytes, float, Loss], Array] = {}

    def __call__(self, used: Mask, penalty: float, loss: Loss = LISTWISE) -> Wide:
        """The wide part with these inputs, by this loss."""
        weights = np.zeros(len(self._bounded), np.float32)
        if self._inputs is None:
            return Wide.nothing(len(weights))
        columns = np.flatnonzero(self._inputs.varies & used)
        if len(columns):
            # Choices of inputs that differ only in some that do not vary here are the same.
            key = (columns.tobytes(), penalty, loss)
            if key not in self._found:
                self._found[key] = self._weights(columns, penalty, loss)
            weights[columns] = self._found[key]
        return Wide(self._inputs.mean, self._inputs.scale, weights)

    def _weights(self, columns: Longs, penalty: float, loss: Loss) -> Array:
        assert self._inputs is not None
        bounds = [(0.0 if self._bounded[column] else None, None) for column in columns]
        x = np.ascontiguousarray(self._inputs.x[:, columns])
        start = np.zeros(len(columns))
        if loss == LISTWISE:
            return _minimum(_loss, start, (x, self._rows, penalty), bounds)
        # The order does not need the intercept, but without it the weights would have to make up for it.
        start, bounds = np.append(start, 0.0), [*bounds, (None, None)]
        return _minimum(logistic.loss, start, (x, self._rows.labels, penalty * _POINTWISE), bounds)[:-1]


def _minimum(
    loss: Callable[..., tuple[float, Array]],
    start: Array,
    data: tuple[object, ...],
    bounds: Sequence[tuple[float | None, float | None]],
) -> Array:
    found: Array = minimize(loss, start, data, "L-BFGS-B", jac=True, bounds=bounds, options={"maxiter": _STEPS}).x
    return found


def _loss(weights: Array, x: Array, rows: Rows, penalty: float) -> tuple[float, Array]:
    """Softmax over each list against its positives, and the gradient; mean over lists."""
    begin, sizes = rows.start[:-1], np.diff(rows.start)
    scores = x @ weights.astype(np.float32)
    scores = scores - np.repeat(np.maximum.reduceat(scores, begin), sizes)
    raised = np.exp(scores)
    total = np.add.reduceat(raised, begin)
    positives = np.add.reduceat(rows.labels, begin)
    chosen = np.add.reduceat(scores * rows.labels, begin)
    lists = len(sizes)
    loss = float((rows.weight * (positives * np.log(total) - chosen)).sum()) / lists
    expected = raised * np.repeat(rows.weight * positives / total, sizes)
    slope = (expected - np.repeat(rows.weight, sizes) * rows.labels) @ x / lists
    return loss + penalty * float(weights @ weights), slope.astype(np.float64) + 2 * penalty * weights
