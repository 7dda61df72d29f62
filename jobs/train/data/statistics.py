"""Builds the statistics of a cut-off: the counts of the actions before it, and neighbour lists."""

from dataclasses import replace

import numpy as np
from scipy import sparse

from jobs.train.data.counts import count_actions, sample_of_heavy_users
from jobs.train.data.neighbours import neighbour_lists
from jobs.train.data.prepare import Prepared
from recmesh.features.spec import Array, FeatureSpec, Longs
from recmesh.features.statistics import Statistics


def build(data: Prepared, spec: FeatureSpec, known: Longs, as_of: int, *, with_lists: bool = True) -> Statistics:
    """Build the statistics of a cut-off.

    Args:
        data: The data set.
        spec: Names the popularities.
        known: int64 [users], for each user the position after the last known action.
        as_of: The cut-off, in ms since 1970.
        with_lists: Whether to build the neighbour lists, which take longest.
    """
    counted = count_actions(data, spec, known, as_of)
    if not with_lists:
        return counted.statistics
    matrix = matrix_of(counted.users, counted.items, len(data.start) - 1, len(data.catalogue))
    cosine, ridge = neighbour_lists(matrix)
    return replace(counted.statistics, cosine=cosine, ridge=ridge)


def matrix_of(users: Array, items: Array, user_count: int, item_count: int) -> sparse.csr_matrix:
    """Return the user-by-item matrix of ones, float32, from distinct pairs that are sorted by user.

    Of users with very many items, only a sample counts; see `sample_of_heavy_users`.
    """
    kept = sample_of_heavy_users(users, items, user_count, item_count)
    ones = np.ones(int(kept.sum()), np.float32)
    return sparse.csr_matrix((ones, (users[kept], items[kept])), (user_count, item_count))
