"""The channels that need no server: item-to-item neighbours of the history, popular by segment, bought before.

Every channel takes `exclude`, the items that must not come, and drops them before its cut.
"""

import numpy as np

from recmesh.features.affinity import entries, members, totals
from recmesh.features.encoder import Encoder
from recmesh.features.spec import Floats, Ints
from recmesh.features.user import User
from recmesh.retrieval.scored import Scored, best, fuse

_DECAYED_LIFT = 0.5


def neighbours(encoder: Encoder, user: User, exclude: Ints, depth: int) -> Scored:
    """What the history speaks for along the ridge and cosine lists, and along the cosine lists of its recent part, fused."""
    owned = user.owned
    if not len(owned.items):
        return Scored.none()
    statistics, scratch = encoder.statistics, encoder.scratch
    lists = []
    for source, weightings in (
        (statistics.ridge, (owned.strength,)),
        (statistics.cosine, (owned.strength, owned.weights)),
    ):
        targets, scores, position = entries(source, owned.items)
        for weights in weightings:
            items, sums = totals(scratch, targets, scores * weights[position])
            allowed = (sums > 0) & ~members(scratch, exclude, items)
            lists.append((1.0, best(items[allowed], sums[allowed], depth)))
    items, scores, _ = fuse(lists)
    return best(items, scores, depth)


def popular(encoder: Encoder, user: User, exclude: Ints, depth: int) -> Scored:
    """The most popular items of the user's profile at each decay, fused. It ends only where the catalogue does."""
    statistics, scratch = encoder.statistics, encoder.scratch
    values = statistics.lift_offset + user.codes
    pool = np.concatenate([statistics.top.ravel(), statistics.value_top[values].ravel()])
    pool = np.unique(pool[pool >= 0])
    pool = pool[~members(scratch, exclude, pool)]
    if len(pool) < depth:
        pool = statistics.order[: depth + len(exclude)]
        pool = pool[~members(scratch, exclude, pool)]
    lift = sum(encoder.lifts(user, pool), np.zeros(len(pool), np.float32))
    lists = [
        (1.0, best(pool, statistics.popularity[pool, number] + lift * (_DECAYED_LIFT if kind.days else 1.0), depth))
        for number, kind in enumerate(encoder.spec.popularities)
        if not kind.first_only
    ]
    items, scores, _ = fuse(lists)
    return best(items, scores, depth)


def bought_before(encoder: Encoder, user: User, exclude: Ints, depth: int) -> Scored:
    """The items of the history, those acted on at most moments first, then by recency."""
    owned = user.owned
    allowed = ~members(encoder.scratch, exclude, owned.items)
    return best(owned.items[allowed], (owned.counts + owned.weights)[allowed], depth)


def two_tower(user_vector: Floats, item_vectors: Floats, exclude: Ints, depth: int) -> Scored:
    """Exact inner product of the user's vector with all item vectors [items, dim]: what Milvus answers in serving."""
    scores = item_vectors @ user_vector
    scores[exclude] = -np.inf
    depth = min(depth, len(scores))
    items = np.argpartition(-scores, depth - 1)[:depth].astype(np.int32)
    items = items[scores[items] > -np.inf]
    return best(items, scores[items], depth)
