"""The popularity of items as the item tower knows it: measured where there are actions, else expected from the fields.

The expectation is a Poisson regression of the mass of actions on the codes of the fields, fitted by generalized
iterative scaling (Darroch and Ratcliff 1972, "Generalized iterative scaling for log-linear models"). It is fitted to
the items with actions, because an item without actions may not have been on offer yet.
"""

from dataclasses import dataclass

import numpy as np

from recmesh.features.spec import Array, Floats, Longs, Mask

SMOOTHING = 1.0
"""Added to the mass of every item before shares are computed."""

PRIOR_ITEMS = 10.0
"""Every code has as many further items as this, with the popularity of the average item, because actions are far more
uneven than a Poisson distribution: few items say little about their code."""

ITERATIONS = 40


@dataclass(frozen=True)
class ItemPopularity:
    """Log popularities.

    Attributes:
        measured: float32 [items], log of the share of actions; the expected one of an item without actions, and of a
            new one with fewer actions than expected.
        base: Log of the expected share of an item without fields.
        effects: float32 [rows], what each row of the fields' table adds to `base`.
    """

    measured: Floats
    base: float
    effects: Floats


def item_popularity(mass: Array, new: Mask, rows: Longs, size: int) -> ItemPopularity:
    """Measure and fit popularities.

    Args:
        mass: float [items], the sum of the weights of each item's actions.
        new: bool [items], the items that have not been on offer for long.
        rows: int64 [items, codes], for each code of an item its row in the fields' table, or -1 for none.
        size: Rows of the table.
    """
    sold = np.flatnonzero(mass > 0)
    base, effects = _fitted(mass[sold], rows[sold], size)
    total = np.log(mass.sum() + SMOOTHING * len(mass))
    measured = np.log(mass + SMOOTHING) - total
    expected = base + _sums(effects, rows) - total
    measured = np.where((mass == 0) | (new & (expected > measured)), expected, measured)
    return ItemPopularity(measured.astype(np.float32), float(base - total), effects.astype(np.float32))


def _fitted(mass: Array, rows: Longs, size: int) -> tuple[float, Array]:
    """Return the log of the mean mass and the effects of a log-linear model of the mass."""
    effects = np.zeros(size)
    if not len(mass):
        return float(np.log(SMOOTHING)), effects
    mean = float(mass.mean())
    present = rows >= 0
    codes = max(int(present.sum(1).max()), 1)
    filled = np.where(present, rows, 0)
    observed = _by_row(mass, filled, present, size) + PRIOR_ITEMS * mean
    base = np.log(mean)
    for _ in range(ITERATIONS):
        predicted = np.exp(base + _sums(effects, rows))
        predicted *= mass.sum() / predicted.sum()
        prior = PRIOR_ITEMS * mean * np.exp(effects)
        effects += np.log(observed / (_by_row(predicted, filled, present, size) + prior)) / codes
        base = np.log(mass.sum() / np.exp(_sums(effects, rows)).sum())
    return float(base), effects


def _sums(effects: Array, rows: Longs) -> Array:
    sums: Array = np.append(effects, 0.0)[rows].sum(1)
    return sums


def _by_row(values: Array, filled: Longs, present: Array, size: int) -> Array:
    spread = np.where(present, values[:, None], 0.0)
    return np.bincount(filled.ravel(), spread.ravel(), size)
