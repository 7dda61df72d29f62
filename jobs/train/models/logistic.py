"""Logistic regression, which fits the debiased score and the calibration."""

import numpy as np

from recmesh.features.spec import Array


def probability(logits: Array) -> Array:
    """Return 1 / (1 + exp(-logits)), without overflow."""
    found: Array = 1 / (1 + np.exp(-np.clip(logits, -50, 50)))
    return found


def loss(parameters: Array, x: Array, labels: Array, ridge: float = 0.0) -> tuple[float, Array]:
    """Compute the mean logistic loss and its gradient, for `minimize(..., jac=True)`.

    Args:
        parameters: float [D + 1]: a weight for each input, then the intercept.
        x: float [N, D], the inputs.
        labels: float [N], 0 or 1.
        ridge: Penalty on the squares of the weights. The intercept is free.

    Returns:
        The loss, and its gradient float [D + 1].
    """
    weights = parameters[:-1]
    logits = x @ weights.astype(x.dtype) + parameters[-1]
    residual = ((probability(logits) - labels) / len(labels)).astype(x.dtype)
    value = float((np.logaddexp(0, logits) - labels * logits).mean()) + ridge * float(weights @ weights)
    return value, np.append(residual @ x + 2 * ridge * weights, residual.sum())
