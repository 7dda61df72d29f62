"""The channels that need no server: item-to-item neighbours of the history, popular by segment, bought before.

Every channel takes `exclude`, the items that must not come, and drops them before its cut.
"""

import numpy as np

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
    lists = [
        (1.0, best(items, sums, depth, encoder.scratch, exclude, above=0))
        for items, sums in ((ridge.items, ridge.all), (cosine.items, cosine.all), (cosine.items, cosine.recent))
    ]
    return fuse(lists, depth, encoder.scratch)


def popular(encoder: Encoder, user: User, exclude: Ints, depth: int) -> Scored:
    """The most popular items of the profile at each listed decay, fused. It ends only where the catalogue does."""
    ranked = encoder.remembered((_POPULAR, user.codes.tobytes()), lambda: _popular(encoder, user.codes))
    found = best(ranked.items, ranked.scores, depth, encoder.scratch, exclude)
    if len(found.items) == depth:
        return found
    order = encoder.statistics.order[: len(ranked.items) + len(exclude) + depth]
    more = order[~np.isin(order, np.concatenate([exclude, ranked.items]))][: depth - len(found.items)]
    # Below every fused score, and falling on.
    tail = (1.0 / (RRF + len(ranked.items) + RRF * (1 + np.arange(len(more))))).astype(np.float32)
    return Scored(np.concatenate([found.items, more]), np.concatenate([found.scores, tail]))


def _popular(encoder: Encoder, codes: Ints) -> Scored:
    """All items that are popular somewhere or with such users, ranked by popularity and lift at each decay, fused."""
    statistics = encoder.statistics
    pool = np.concatenate([statistics.top.ravel(), statistics.value_top[statistics.lift_offset + codes].ravel()])
    pool = np.unique(pool[pool >= 0])
    lift = sum(encoder.lifts(codes, pool), np.zeros(len(pool), np.float32))
    lists = [
        (1.0, best(pool, statistics.popularity[pool, number] + lift * weight, len(pool), encoder.scratch))
        for number, weight in (
            (number, np.float32(_DECAYED_LIFT if kind.days else 1.0))
            for number, kind in enumerate(encoder.spec.popularities)
            if kind.listed
        )
    ]
    return fuse(lists, len(pool), encoder.scratch)


def bought_before(encoder: Encoder, user: User, exclude: Ints, depth: int) -> Scored:
    """The items of the history, those acted on at most moments first, then by recency."""
    owned = user.owned
    return best(owned.items, owned.counts + owned.weights, depth, encoder.scratch, exclude)


def two_tower(encoder: Encoder, user_vector: Floats, item_vectors: Floats, exclude: Ints, depth: int) -> Scored:
    """Exact inner product of the user's vector with all item vectors [items, dim]: what Milvus answers in serving."""
    items = np.arange(len(item_vectors), dtype=np.int32)
    return best(items, item_vectors @ user_vector, depth, encoder.scratch, exclude)
