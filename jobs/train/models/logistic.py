"""Logistic regression: what the affinity and the calibration are fitted by."""

import numpy as np

from recmesh.features.spec import Array


def probability(logits: Array) -> Array:
    """1 / (1 + exp(-logits)), without overflow."""
    chance: Array = 1 / (1 + np.exp(-np.clip(logits, -50, 50)))
    return chance


def loss(parameters: Array, x: Array, labels: Array, ridge: float = 0.0) -> tuple[float, Array]:
    """Mean logistic loss and its gradient, for `minimize(..., jac=True)`.

    parameters: a weight for each column of x [N, D], and last the intercept. labels [N]: 0 or 1. ridge: price of the
    squared weights.
    """
    weights = parameters[:-1]
    logits = x @ weights.astype(x.dtype) + parameters[-1]
    wrong = ((probability(logits) - labels) / len(labels)).astype(x.dtype)
    value = float((np.logaddexp(0, logits) - labels * logits).mean()) + ridge * float(weights @ weights)
    return value, np.append(wrong @ x + 2 * ridge * weights, wrong.sum())
