"""The wide part of the ranker: a linear conditional logit over each user's list, fitted by L-BFGS with sign bounds.

Weights of popularity, lifts, neighbour scores and the like are held at 0 or above: a free fit on a few moments learns
their trends (one popularity against another), and loses on the next moment.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from jobs.train.rows import Rows
from recmesh.features.spec import Array, Floats, Mask

_STEPS = 80
_RIDGE = 5e-2
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

    def __call__(self, dense: Floats) -> Floats:
        scores: Floats = (((dense - self.mean) / self.scale) @ self.weights).astype(np.float32)
        return scores

    def parts(self, dense: Floats) -> Floats:
        """What each input adds to the score, float32 [N, D]."""
        added: Floats = ((dense - self.mean) / self.scale * self.weights).astype(np.float32)
        return added


def fit(rows: Rows, bounded: Sequence[bool], used: Mask) -> Wide:
    """Fit to one segment's rows; `bounded`: the inputs whose weight must not be negative, `used`: those that may have
    one."""
    width = len(bounded)
    if not len(rows.labels):
        return Wide.nothing(width)
    x, mean, scale = standard(rows.dense, used)
    bounds = [(0.0 if one else None, None) for one in bounded]
    found = minimize(
        _loss, np.full(width, 0.0), (x, rows), "L-BFGS-B", jac=True, bounds=bounds, options={"maxiter": _STEPS}
    )
    return Wide(mean, scale, found.x.astype(np.float32))


def standard(dense: Floats, used: Mask) -> tuple[Floats, Floats, Floats]:
    """Inputs brought to mean 0 and deviation 1, float32 [N, D], with their mean and scale.

    Those that do not vary or are not to be used are 0 throughout, so that the penalty leaves their weight at 0."""
    mean, deviation = dense.mean(0, np.float64), dense.std(0, dtype=np.float64)
    varies = (deviation > _LEAST_DEVIATION) & used
    scale = np.where(varies, deviation, 1.0)
    x: Floats = ((dense - mean) / scale * varies).astype(np.float32)
    return x, mean.astype(np.float32), scale.astype(np.float32)


def _loss(weights: Array, x: Array, rows: Rows) -> tuple[float, Array]:
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
    return loss + _RIDGE * float(weights @ weights), slope.astype(np.float64) + 2 * _RIDGE * weights
