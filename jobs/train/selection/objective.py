"""What a segment's lists are worth: the one number by which training chooses."""

import numpy as np

from recmesh.evaluation.metrics import Array

WORTH = "recall@10 + recall@100 / 2 + ndcg@10"

_WEIGHTS = np.array([1.0, 0.5, 1.0])


def worth(figures: Array) -> Array:
    """One number a user from recall@10, recall@100 and ndcg@10: the head of the list, by hits and by places, and half
    as much its whole length."""
    value: Array = figures @ _WEIGHTS
    return value


def clear(gains: Array) -> bool:
    """Whether the mean of some gains, float [users], is above its standard error."""
    return bool(gains.mean() > gains.std() / np.sqrt(len(gains)))
