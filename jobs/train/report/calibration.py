"""Calibration: a logistic curve from scores to probabilities.

It is fitted on half of the held-out users and tested on the other half.
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize

from jobs.train.models import logistic
from recmesh.evaluation.metrics import margin
from recmesh.evaluation.report import Bin, Calibration
from recmesh.features.spec import Array, Floats, Mask

MAX_BINS = 10


def calibrate(scores: Sequence[Floats], labels: Sequence[Mask]) -> Calibration | None:
    """Fit the curve on the users with even numbers, and test it on the others.

    Args:
        scores: For each user float32 [candidates].
        labels: For each user bool [candidates], the wanted ones.

    Returns:
        The curve and its test, or None if either half of the users has no wanted candidate.
    """
    fitted_on, tested_on = [(_joined(scores[part::2]), _joined(labels[part::2])) for part in (0, 1)]
    if not fitted_on[1].any() or not tested_on[1].any():
        return None
    slope, intercept = _logistic(*fitted_on)
    predicted, observed = probability(tested_on[0], slope, intercept), tested_on[1].astype(np.float64)
    bins = _bins(predicted, observed)
    distance = sum(bin.candidates * abs(bin.predicted - bin.observed) for bin in bins)
    return Calibration(
        slope=slope,
        intercept=intercept,
        error=distance / len(predicted),
        users=len(labels[1::2]),
        bins=tuple(bins),
    )


def probability(scores: Array, slope: float, intercept: float) -> Array:
    """Return the probabilities that a curve gives for scores."""
    return logistic.probability(slope * scores + intercept)


def wilson(hits: float, count: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of a share.

    Wilson 1927, "Probable inference, the law of succession, and statistical inference". The interval lies within [0, 1]
    and is valid for few hits.
    """
    z = margin(1.0)
    share, spread = hits / count, z * z / count
    centre = (share + spread / 2) / (1 + spread)
    half = z * np.sqrt(share * (1 - share) / count + spread / (4 * count)) / (1 + spread)
    return float(max(centre - half, 0.0)), float(min(centre + half, 1.0))


def _logistic(scores: Array, labels: Array) -> tuple[float, float]:
    """Fit slope and intercept by maximum likelihood, on standardised scores."""
    centre, scale = float(scores.mean()), float(scores.std()) or 1.0
    x, y = (scores.astype(np.float64) - centre) / scale, labels.astype(np.float64)
    share = y.mean()
    start = np.array([1.0, np.log(share / (1 - share)) if share < 1 else 0.0])
    slope, intercept = minimize(logistic.loss, start, (x[:, None], y), "L-BFGS-B", jac=True).x
    return float(slope / scale), float(intercept - slope * centre / scale)


def _bins(predicted: Array, observed: Array) -> list[Bin]:
    """Divide the candidates into bins with equal expected numbers of wanted ones.

    Bins of equal size would be useless, because the probability of most candidates is almost 0.
    """
    order = np.argsort(predicted, kind="stable")
    predicted, observed = predicted[order], observed[order]
    number = np.minimum((np.cumsum(predicted) / predicted.sum() * MAX_BINS).astype(np.int64), MAX_BINS - 1)
    found = []
    for k in np.unique(number):
        mask = number == k
        count, hits = int(mask.sum()), float(observed[mask].sum())
        low, high = wilson(hits, count)
        found.append(
            Bin(candidates=count, predicted=float(predicted[mask].mean()), observed=hits / count, low=low, high=high)
        )
    return found


def _joined(parts: Sequence[Array]) -> Array:
    return np.concatenate(parts) if len(parts) else np.empty(0)
