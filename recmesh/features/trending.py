"""How often items are acted on now: the one implementation for training and serving."""

import numpy as np

from recmesh.contract import COUNT_BUCKET_MS, COUNT_BUCKETS
from recmesh.features.spec import Array, Ints, Longs

_HOUR = 3_600_000 // COUNT_BUCKET_MS
_HALF_LIVES = (_HOUR, COUNT_BUCKETS)
"""An hour and a day, in buckets."""


def _shares() -> Array:
    """What an action adds to the rate of its item, float64 [buckets + 1] by its age in buckets. The last is 0."""
    ages = np.arange(COUNT_BUCKETS)
    decays = [0.5 ** (ages / half_life) for half_life in _HALF_LIVES]
    # A constant stream of actions has its own rate by each half-life.
    return np.append(np.mean([decay * _HOUR / decay.sum() for decay in decays], 0), 0.0)


_SHARES = _shares()


def action_rates(items: Ints, buckets: Longs | int, weights: Array, size: int, now: int) -> Array:
    """Return how often each item is acted on, in weighted actions per hour, float64 [size].

    It is the mean of two rates of the last day, one with a half-life of an hour and one with a half-life of a day. The
    rates of several parts of the actions add up to those of all.

    Args:
        items: int32, the numbers of items, each below `size`.
        buckets: int64 of the same length, when there were actions: milliseconds since 1970 // `COUNT_BUCKET_MS`. One
            number stands for all.
        weights: Of the same length, the sums of the weights of the actions.
        size: The number of items.
        now: The newest bucket. It is the present, so rates fall only while other items are acted on.
    """
    rates: Array = np.bincount(items, weights * _SHARES[np.minimum(now - buckets, COUNT_BUCKETS)], size)
    return rates
