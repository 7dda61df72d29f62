"""The channels that need no server: item-to-item neighbours of the history, popular by segment, bought before.

Every channel takes `exclude`, the items that must not come, and drops them before its cut.
"""

import numpy as np

from recmesh.features.affinity import members
from recmesh.features.encoder import Encoder
from recmesh.features.spec import Floats, Ints
from recmesh.features.user import User
from recmesh.retrieval.scored import RRF, Scored, best, fuse

_DECAYED_LIFT = 0.5
_POPULAR = "popular"


def neighbours(encoder: Encoder, user: User, exclude: Ints, depth: int) -> Scored:
    """What the history speaks for along the ridge and cosine lists, and along the cosine lists of its recent part,
    fused."""
    if not len(user.owned.items):
        return Scored.none()
    ridge, cosine = encoder.votes(user)
    lists = []
    for items, sums in ((ridge.items, ridge.all), (cosine.items, cosine.all), (cosine.items, cosine.recent)):
        allowed = (sums > 0) & ~members(encoder.scratch, exclude, items)
        lists.append((1.0, best(items[allowed], sums[allowed], depth)))
    items, scores, _ = fuse(lists)
    return best(items, scores, depth)


def popular(encoder: Encoder, user: User, exclude: Ints, depth: int) -> Scored:
    """The most popular items of the user's profile at each decay, fused. It ends only where the catalogue does."""
    ranked = encoder.remembered((_POPULAR, user.codes.tobytes()), lambda: _popular(encoder, user.codes))
    allowed = ~members(encoder.scratch, exclude, ranked.items)
    items, scores = ranked.items[allowed][:depth], ranked.scores[allowed][:depth]
    if len(items) == depth:
        return Scored(items, scores)
    order = encoder.statistics.order[: len(ranked.items) + len(exclude) + depth]
    more = order[~members(encoder.scratch, np.concatenate([exclude, ranked.items]), order)][: depth - len(items)]
    # Below every fused score, and falling on.
    tail = (1.0 / (RRF + len(ranked.items) + RRF * (1 + np.arange(len(more))))).astype(np.float32)
    return Scored(np.concatenate([items, more]), np.concatenate([scores, tail]))


def _popular(encoder: Encoder, codes: Ints) -> Scored:
    """All items that are popular somewhere or with such users, ranked by popularity and lift at each decay, fused."""
    statistics = encoder.statistics
    pool = np.concatenate([statistics.top.ravel(), statistics.value_top[statistics.lift_offset + codes].ravel()])
    pool = np.unique(pool[pool >= 0])
    lift = sum(encoder.lifts(codes, pool), np.zeros(len(pool), np.float32))
    lists = [
        (1.0, best(pool, statistics.popularity[pool, number] + lift * (_DECAYED_LIFT if kind.days else 1.0), len(pool)))
        for number, kind in enumerate(encoder.spec.popularities)
        if not kind.first_only
    ]
    items, scores, _ = fuse(lists)
    return best(items, scores, len(items))


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
