"""Item-to-item neighbours of a starter: cosine lists, counted with the kernels.

Training computes such lists as sparse matrix products (`jobs.train.data.neighbours`) with SciPy, which the image of the
ingestion does not have.
"""

import numpy as np

from recmesh import kernels
from recmesh.features import Lists
from recmesh.features.spec import Floats, Ints, Longs

LENGTH = 100
"""Longest list of an item."""

SHRINKAGE = 50.0
"""Added to the denominator of the cosine, so that a few common users do not make two rare items neighbours."""


def cosine_lists(users: Ints, items: Ints, user_count: int, item_count: int) -> Lists:
    """Count the users that items have in common.

    The score of two items is together / (sqrt(users of the one * users of the other) + SHRINKAGE).

    Args:
        users: int32 [pairs], ascending.
        items: int32 [pairs], what these users acted on. No pair occurs twice.
        user_count: The number of users.
        item_count: The number of items.

    Returns:
        For each item its best neighbours, best first; of equal ones, the lower number first.
    """
    ones = np.ones(len(items), np.float32)
    of_users = Lists(_starts(users, user_count), items, ones)
    of_items, buyers = _starts(np.sort(items), item_count), users[np.argsort(items, kind="stable")]
    counts, scratch = np.diff(of_items), kernels.Scratch(item_count)
    found: list[tuple[Ints, Floats]] = []
    for item in range(item_count):
        sources = buyers[of_items[item] : of_items[item + 1]]
        weights = ones[: len(sources)]
        together = kernels.votes(of_users.start, items, ones, sources, weights, weights, of_users.longest, scratch)
        size = np.sqrt(float(counts[item]) * counts[together.items])
        scores = (together.all / (size + SHRINKAGE)).astype(np.float32)
        found.append(kernels.best(together.items, scores, LENGTH, scratch, np.array([item], np.int32)))
    start = np.cumsum([0, *(len(neighbours) for neighbours, _ in found)], dtype=np.int64)
    neighbours, scores = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    return Lists(start, neighbours, scores)


def _starts(ascending: Ints, count: int) -> Longs:
    """Return where each number begins in a sorted array, int64 [count + 1]."""
    starts: Longs = np.searchsorted(ascending, np.arange(count + 1)).astype(np.int64)
    return starts
