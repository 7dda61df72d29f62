"""The wide part of the ranker: a linear conditional logit over each user's list, fitted by L-BFGS with sign bounds.

The weights of popularity, lifts, neighbour scores and similar inputs must not be negative. An unbounded fit to a few
cut-offs learns their trends, as the difference of two popularities, and does worse at the next cut-off.
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
"""Logistic loss of each row: better if users want very many of their candidates."""


@dataclass(frozen=True)
class WideParameters:
    """Hyperparameters of the wide part.

    Attributes:
        penalties: Penalties on the squares of the weights, on the scale of the listwise loss. Training tries both.
        pointwise_penalty: Factor of the penalty for the pointwise loss, whose scale is smaller.
        max_iterations: Iterations of L-BFGS.
        min_deviation: Inputs with a smaller standard deviation are not used.
    """

    penalties: tuple[float, float] = (5e-2, 5e-3)
    pointwise_penalty: float = 0.02
    max_iterations: int = 80
    min_deviation: float = 1e-4


PARAMETERS = WideParameters()


@dataclass(frozen=True)
class Wide:
    """A linear score: (dense - mean) / scale @ weights.

    Attributes:
        mean: float32 [D].
        scale: float32 [D], 1 for an input that does not vary.
        weights: float32 [D], 0 for an input that does not vary.
    """

    mean: Floats
    scale: Floats
    weights: Floats

    @classmethod
    def zero(cls, width: int) -> "Wide":
        """Return a score that is 0 for every row."""
        return cls(np.zeros(width, np.float32), np.ones(width, np.float32), np.zeros(width, np.float32))

    @classmethod
    def only(cls, width: int, column: int) -> "Wide":
        """Return a score that equals one of the inputs."""
        wide = cls.zero(width)
        wide.weights[column] = 1.0
        return wide

    def __call__(self, dense: Floats) -> Floats:
        """Score rows: dense float32 [N, D] -> float32 [N]."""
        scores: Floats = (((dense - self.mean) / self.scale) @ self.weights).astype(np.float32)
        return scores

    def parts(self, dense: Floats) -> Floats:
        """Return the contribution of each input to the score, float32 [N, D]."""
        added: Floats = ((dense - self.mean) / self.scale * self.weights).astype(np.float32)
        return added


@dataclass(frozen=True)
class Standardised:
    """Inputs of N rows with mean 0 and standard deviation 1.

    Attributes:
        x: float32 [N, D]. Inputs that do not vary are 0, so a penalty keeps their weight at 0.
        mean: float32 [D].
        scale: float32 [D], 1 for an input that does not vary.
        varies: bool [D].
    """

    x: Floats
    mean: Floats
    scale: Floats
    varies: Mask

    @classmethod
    def of(cls, dense: Floats, min_deviation: float = PARAMETERS.min_deviation) -> "Standardised":
        """Standardise inputs, float32 [N, D]."""
        mean, deviation = dense.mean(0, np.float64), dense.std(0, dtype=np.float64)
        varies = deviation > min_deviation
        center, scale = mean.astype(np.float32), np.where(varies, deviation, 1.0).astype(np.float32)
        return cls((dense - center) / scale * varies, center, scale, varies)


class Fit:
    """Fits wide parts to the rows of one segment, with different inputs, penalties and losses.

    Args:
        rows: The rows.
        bounded: bool [D], the inputs whose weight must not be negative.
        parameters: The hyperparameters.
    """

    def __init__(self, rows: Rows, bounded: Sequence[bool], parameters: WideParameters = PARAMETERS) -> None:
        self._rows, self._bounded, self._parameters = rows, bounded, parameters
        self._inputs = Standardised.of(rows.dense, parameters.min_deviation) if len(rows.labels) else None
        self._found: dict[tuple[bytes, float, Loss], Array] = {}

    def __call__(self, used: Mask, penalty: float, loss: Loss = LISTWISE) -> Wide:
        """Fit the wide part.

        Args:
            used: bool [D], the inputs to use.
            penalty: Penalty on the squares of the weights.
            loss: LISTWISE or POINTWISE.

        Returns:
            The wide part. All weights are 0 if there are no rows.
        """
        weights = np.zeros(len(self._bounded), np.float32)
        if self._inputs is None:
            return Wide.zero(len(weights))
        columns = np.flatnonzero(self._inputs.varies & used)
        if len(columns):
            # Inputs that do not vary make no difference, so the key leaves them out.
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
            return self._minimum(_listwise_loss, start, (x, self._rows, penalty), bounds)
        # The intercept does not influence the order, but without it the weights would have to replace it.
        start, bounds = np.append(start, 0.0), [*bounds, (None, None)]
        penalty *= self._parameters.pointwise_penalty
        return self._minimum(logistic.loss, start, (x, self._rows.labels, penalty), bounds)[:-1]

    def _minimum(
        self,
        loss: Callable[..., tuple[float, Array]],
        start: Array,
        data: tuple[object, ...],
        bounds: Sequence[tuple[float | None, float | None]],
    ) -> Array:
        options = {"maxiter": self._parameters.max_iterations}
        found: Array = minimize(loss, start, data, "L-BFGS-B", jac=True, bounds=bounds, options=options).x
        return found


def _listwise_loss(weights: Array, x: Array, rows: Rows, penalty: float) -> tuple[float, Array]:
    """Compute the cross-entropy between the softmax over each list and its positives, as the mean over lists.

    Returns:
        The loss with its penalty, and the gradient float [D].
    """
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
