"""The objective: the number by which training compares the lists of a segment."""

import numpy as np

from recmesh.evaluation.metrics import Array

OBJECTIVE = "recall@10 + recall@100 / 2 + ndcg@10"

_WEIGHTS = np.array([1.0, 0.5, 1.0])


def objective(figures: Array) -> Array:
    """Combine recall@10, recall@100 and ndcg@10: float [users, 3] -> float [users].

    The first ten places count by hits and by position, and the entire list counts half.
    """
    value: Array = figures @ _WEIGHTS
    return value


def exceeds_standard_error(gains: Array) -> bool:
    """Return whether the mean of gains, float [users], is greater than its standard error."""
    return bool(gains.mean() > standard_error(gains))


def standard_error(gains: Array) -> float:
    """Return the standard error of the mean of gains, float [users]."""
    return float(gains.std() / np.sqrt(len(gains)))
