"""The channels: neighbours of the history, popular, trending, new and owned items, and exact two-tower search.

Every channel drops the items `exclude`, and those that a filter does not let pass (`allowed`, a bool for each item of
the catalogue), before it cuts its list at `depth`. In serving, Milvus takes the place of the exact search.
"""

import numpy as np

from recmesh.features.encoder import Encoder
from recmesh.features.spec import Floats, Ints, Mask
from recmesh.features.user import User
from recmesh.retrieval.scored import RRF_CONSTANT, Scored, best, fuse

_DECAYED_LIFT_WEIGHT = 0.5
_BLOCK = 1_024


def neighbours(encoder: Encoder, user: User, exclude: Ints, depth: int, allowed: Mask | None = None) -> Scored:
    """Return the items with the most votes from the history.

    It fuses three rankings: by the votes along the ridge lists, by those along the cosine lists, and by those along the
    cosine lists weighted by recency.
    """
    if not len(user.owned.items):
        return Scored.none()
    ridge, cosine = encoder.votes(user)
    lists = [
        (1.0, best(items, sums, depth, encoder.scratch, exclude, above=0, allowed=allowed))
        for items, sums in ((ridge.items, ridge.all), (cosine.items, cosine.all), (cosine.items, cosine.recent))
    ]
    return fuse(lists, depth, encoder.scratch)


def popular(encoder: Encoder, ranked: Scored, exclude: Ints, depth: int, allowed: Mask | None = None) -> Scored:
    """Return the popular items of a profile, followed by the rest of the catalogue by popularity.

    Args:
        encoder: The encoder of the release.
        ranked: The popular items of the profile; see `popular_for`.
        exclude: int32, items to leave out.
        depth: How many items to return. The result is shorter only if fewer items are allowed.
        allowed: For each item whether a filter lets it pass; None without a filter.
    """
    found = best(ranked.items, ranked.scores, depth, encoder.scratch, exclude, allowed=allowed)
    if len(found.items) == depth:
        return found
    more = next_popular(encoder, np.concatenate([exclude, ranked.items]), depth - len(found.items), allowed)
    # Descending, and lower than every fused score.
    tail = (1.0 / (RRF_CONSTANT + len(ranked.items) + RRF_CONSTANT * (1 + np.arange(len(more))))).astype(np.float32)
    return Scored(np.concatenate([found.items, more]), np.concatenate([found.scores, tail]))


def next_popular(encoder: Encoder, exclude: Ints, count: int, allowed: Mask | None = None) -> Ints:
    """Return the `count` most popular of the allowed items that are not excluded, int32, the most popular first."""
    order, wanted = encoder.statistics.order, count + len(exclude)
    if allowed is None:
        order = order[:wanted]
    else:
        # Not order[allowed[order]], whose reads are all over the memory: 14 ms for a million items instead of 0.3 ms.
        ranks = encoder.popularity_ranks[allowed]
        order = order[np.sort(np.partition(ranks, wanted)[:wanted] if wanted < len(ranks) else ranks)]
    return order[~np.isin(order, exclude)][:count]


def popular_for(encoder: Encoder, codes: bytes) -> Scored:
    """Rank the items that are popular by some measure or with users of a profile.

    It fuses the rankings by popularity plus lift, one for each listed measure of popularity.

    Args:
        encoder: The encoder of the release.
        codes: The bytes of `User.codes`, a key that caches can use.
    """
    statistics, user_codes = encoder.statistics, np.frombuffer(codes, np.int32)
    pool = np.concatenate([statistics.top.ravel(), statistics.value_top[statistics.lift_offset + user_codes].ravel()])
    pool = np.unique(pool[pool >= 0])
    lift = sum(encoder.lifts(user_codes, pool), np.zeros(len(pool), np.float32))
    lists = [
        (1.0, best(pool, statistics.popularity[pool, number] + lift * weight, len(pool), encoder.scratch))
        for number, weight in (
            (number, np.float32(_DECAYED_LIFT_WEIGHT if kind.days else 1.0))
            for number, kind in enumerate(encoder.spec.popularities)
            if kind.listed
        )
    ]
    return fuse(lists, len(pool), encoder.scratch)


def bought_before(encoder: Encoder, user: User, exclude: Ints, depth: int, allowed: Mask | None = None) -> Scored:
    """Return the items of the history, those with the most distinct action times first, then by recency."""
    owned = user.owned
    return best(owned.items, owned.counts + owned.weights, depth, encoder.scratch, exclude, allowed=allowed)


def new(encoder: Encoder, user_vector: Floats, exclude: Ints, depth: int, allowed: Mask | None = None) -> Scored:
    """Search the new items by inner product. Popular items would push them out of a search of all items.

    Args:
        encoder: The encoder of the release.
        user_vector: float32 [dim].
        exclude: int32, items to leave out.
        depth: How many items to return at most.
        allowed: For each item whether a filter lets it pass; None without a filter.
    """
    items = encoder.statistics.new
    if not len(items) or not encoder.item_vectors.size:
        return Scored.none()
    return best(items, encoder.new_vectors @ user_vector, depth, encoder.scratch, exclude, allowed=allowed)


def trending(ranked: Scored, exclude: Ints, depth: int, allowed: Mask | None = None) -> Scored:
    """Return the items that are acted on most at the moment.

    Args:
        ranked: The items by their rates; see `recmesh.features.trending`.
        exclude: int32, items to leave out.
        depth: How many items to return at most.
        allowed: For each item of the catalogue whether a filter lets it pass; None without a filter. Items outside the
            catalogue pass.
    """
    kept = ~np.isin(ranked.items, exclude)
    if allowed is not None:
        kept &= np.append(allowed, True)[np.minimum(ranked.items, len(allowed))]
    best_kept = np.flatnonzero(kept)[:depth]
    return Scored(ranked.items[best_kept], ranked.scores[best_kept])


def two_tower(
    encoder: Encoder, user_vector: Floats, item_vectors: Floats, exclude: Ints, depth: int, allowed: Mask | None = None
) -> Scored:
    """Search all items by inner product, exactly. Training and tests use it; serving asks Milvus if many are allowed.

    Args:
        encoder: The encoder of the release.
        user_vector: float32 [dim].
        item_vectors: float32 [items, dim].
        exclude: int32, items to leave out.
        depth: How many items to return at most.
        allowed: For each item whether a filter lets it pass; None without a filter.
    """
    if allowed is None:
        items, scores = np.arange(len(item_vectors), dtype=np.int32), item_vectors @ user_vector
    else:
        items = np.flatnonzero(allowed[: len(item_vectors)]).astype(np.int32)
        # In blocks that stay in the cache: fresh memory for all vectors costs more than the products.
        blocks = np.split(items, range(_BLOCK, len(items), _BLOCK))
        scores = np.concatenate([item_vectors[block] @ user_vector for block in blocks])
    return best(items, scores, depth, encoder.scratch, exclude)
