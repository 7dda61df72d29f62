"""Counts the actions before a cut-off: its statistics without the neighbour lists."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jobs.train.data.prepare import Prepared
from recmesh.features.ranker_inputs import LIFT_SMOOTHING, column_sizes, dense_names
from recmesh.features.spec import DAY_MS, Array, Channel, FeatureSpec, Ints, Longs, Mask, Popularity, Segment
from recmesh.features.statistics import Lists, Statistics
from recmesh.features.vocabulary import Vocabulary

CALENDAR = (
    Popularity(name="all"),
    Popularity(name="30d", days=30, listed=False),
    Popularity(name="12d", days=12, listed=False),
    Popularity(name="4d", days=4),
    Popularity(name="1d", days=1),
    Popularity(name="first_40d", days=40, first_only=True, listed=False),
    Popularity(name="first_10d", days=10, first_only=True, listed=False),
)
"""Popularities of a split by date. `listed` ones are also offered by the channel of popular items."""

OWN_ORDER = (
    Popularity(name="all"),
    Popularity(name="late", late=True),
    Popularity(name="root", power=0.5, listed=False),
    Popularity(name="even", power=1.0, listed=False),
)
"""Popularities of a split by position. Users with few actions and users with many prefer different items, so the
ranker gets the popularity among both (docs/adr/013)."""

TOP_ITEMS = 400
"""Length of the list of the most popular items."""

VALUE_TOP_ITEMS = 100
"""Length of the list of popular items for each value of a user field."""

MAX_CODE_LIFTS = 4_000_000
"""Lifts between user values and item codes are left out for an item field that would need a larger table."""

MAX_ITEMS_PER_USER = 500
"""Items of one user that count for the neighbour lists, whose cost is quadratic in this number."""

LATE_DECAY = 0.7
"""The `late` popularity multiplies the weight of an action by this for each later visit of the same user."""

SHARE_SMOOTHING = 1.0
"""Added to the weight of every item before shares are computed."""

REPEAT_SMOOTHING = 5.0
"""Users with the mean repeat rate that are added to those of every item."""


class Counted(NamedTuple):
    """What `count_actions` returns.

    Attributes:
        statistics: The statistics. Their neighbour lists are empty.
        users: int32 [pairs], the users of the distinct pairs of a user and an item, ascending.
        items: int32 [pairs], the items of the pairs, ascending for each user.
    """

    statistics: Statistics
    users: Ints
    items: Ints


def count_actions(data: Prepared, spec: FeatureSpec, known: Longs, as_of: int) -> Counted:
    """Count the actions before a cut-off.

    Args:
        data: The data set.
        spec: Names the popularities.
        known: int64 [users], for each user the position after the last known action.
        as_of: The cut-off, in ms since 1970.
    """
    rows, size = data.known(known), len(data.catalogue)
    seen = np.full(size + 1, as_of, np.int64)
    np.minimum.at(seen, data.items[rows], np.maximum(data.times[rows], data.active.begin))
    weights = data.weights_of(rows)
    rows, weights = rows[weights > 0], weights[weights > 0]
    users, items, times = data.users[rows], data.items[rows], data.times[rows]
    pair = data.pairs(rows)
    distinct, first = np.unique(pair, return_index=True)
    pair_users, pair_items = users[first], items[first]
    popularity = np.stack(
        [_log_share(items, _weight(kind, users, times, weights, first, as_of), size) for kind in spec.popularities], 1
    )
    buyers = np.bincount(pair_items, minlength=size).astype(np.float32)
    offset, start, lift_items, lift_counts, share = _lifts(data, pair_users, pair_items, size)
    empty = Lists(np.zeros(size + 1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))
    order = np.argsort(-popularity[:-1, 0], kind="stable").astype(np.int32)
    found = Statistics(
        as_of=as_of,
        popularity=popularity.astype(np.float32),
        buyers=np.append(buyers, 0).astype(np.float32),
        repeat_rate=_repeat_rate(pair, times, distinct, pair_items, buyers),
        first_seen=seen,
        lift_offset=offset,
        lift_start=start,
        lift_items=lift_items,
        lift_counts=lift_counts,
        value_share=share,
        top=np.stack([_head(popularity[:-1, number]) for number in range(popularity.shape[1])]),
        value_top=_value_top(popularity[:, 0], buyers, start, lift_items, lift_counts, share),
        order=order,
        code_share=_code_shares(data, items, weights),
        code_lift=_code_lifts(data, pair_users, pair_items, share),
        cosine=empty,
        ridge=empty,
    )
    return Counted(found, pair_users, pair_items)


def feature_spec(
    data: Prepared, *, clock: bool, channels: Mapping[Segment, Mapping[str, Channel]], rankers: Mapping[Segment, bool]
) -> FeatureSpec:
    """Return the spec of a data set's features.

    Args:
        data: The data set.
        clock: Whether calendar time has a meaning.
        channels: For each segment the channels that serve it.
        rankers: Whether a ranker orders the candidates of a segment.
    """
    popularities = CALENDAR if clock else OWN_ORDER
    settings = {"clock": clock, "popularities": popularities, "channels": channels, "rankers": rankers}
    spec = data.spec.model_copy(update=settings)
    sizes = ([v.size for v in data.user_vocabularies], [v.size for v in data.item_vocabularies])
    return spec.model_copy(update={"dense": dense_names(spec), "columns": column_sizes(spec, *sizes)})


def sample_of_heavy_users(users: Array, items: Array, user_count: int, item_count: int) -> Mask:
    """Return which pairs of a user and an item count for neighbour lists, bool [pairs].

    Of a user with very many items only a sample of `MAX_ITEMS_PER_USER` counts: the work grows with the square of their
    number.

    Args:
        users: int [pairs], ascending.
        items: int [pairs]. No pair occurs twice.
        user_count: The number of users.
        item_count: The number of items.
    """
    per_user = np.bincount(users, minlength=user_count)
    heavy = np.flatnonzero(per_user[users] > MAX_ITEMS_PER_USER)
    kept = np.ones(len(users), np.bool_)
    if len(heavy):
        lot = np.random.default_rng(item_count).permutation(item_count)[items[heavy]]
        drawn = heavy[np.lexsort((lot, users[heavy]))]
        sizes = per_user[per_user > MAX_ITEMS_PER_USER]
        number = np.arange(len(drawn)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        kept[drawn[number >= MAX_ITEMS_PER_USER]] = False
    return kept


def _weight(kind: Popularity, users: Array, times: Array, weights: Array, first: Array, as_of: int) -> Array:
    if kind.power and len(users):
        uneven = np.bincount(users)[users].astype(np.float64) ** -kind.power
        weights = weights * uneven / uneven.mean()  # the same total, because of the smoothing
    if kind.late:
        weights = weights * LATE_DECAY ** _steps_to_last(users, times)
    if kind.days is not None:
        weights = weights * np.exp(-np.maximum(as_of - times, 0) / (kind.days * DAY_MS))
    if kind.first_only:
        only = np.zeros(len(weights))
        only[first] = weights[first]
        return only
    return weights


def _steps_to_last(users: Array, times: Array) -> Array:
    """Return for each action at how many distinct later times the same user acted, int64."""
    if not len(users):
        return np.zeros(0, np.int64)
    change = np.ones(len(users), np.int64)
    change[1:] = (users[1:] != users[:-1]) | (times[1:] != times[:-1])
    visit = np.cumsum(change)
    last = np.flatnonzero(np.append(users[1:] != users[:-1], True))
    return visit[last][np.searchsorted(users[last], users)] - visit


def _log_share(items: Array, weights: Array, count: int) -> Array:
    """Return the log of each item's smoothed share, float [count + 1]. The last is that of an item without actions."""
    mass = np.append(np.bincount(items, weights, count), 0.0)
    share: Array = np.log((mass + SHARE_SMOOTHING) / (mass.sum() + SHARE_SMOOTHING * count))
    return share


def _repeat_rate(pair: Array, times: Array, distinct: Array, pair_items: Array, buyers: Array) -> Array:
    order = np.lexsort((times, pair))
    sorted_pair, sorted_times = pair[order], times[order]
    again = np.flatnonzero((sorted_pair[1:] == sorted_pair[:-1]) & (sorted_times[1:] != sorted_times[:-1]))
    back = np.isin(distinct, sorted_pair[again])
    returned = np.bincount(pair_items[back], minlength=len(buyers))
    mean = returned.sum() / max(buyers.sum(), 1)
    rate = (returned + REPEAT_SMOOTHING * mean) / (buyers + REPEAT_SMOOTHING)
    return np.append(rate, mean).astype(np.float32)


def _lifts(data: Prepared, users: Array, items: Array, count: int) -> tuple[Array, Array, Array, Array, Array]:
    sizes = [vocabulary.size for vocabulary in data.user_vocabularies]
    offset = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    starts, lift_items, lift_counts, shares = [np.zeros(1, np.int64)], [], [], []
    for number, size in enumerate(sizes):
        code = data.user_codes[users, number]
        cells, users_of_cells = np.unique(code.astype(np.int64) * count + items, return_counts=True)
        starts.append(np.searchsorted(cells, np.arange(1, size + 1) * count) + starts[-1][-1])
        lift_items.append((cells % count).astype(np.int32))
        lift_counts.append(users_of_cells)
        shares.append(np.bincount(code, minlength=size) / max(len(users), 1))
    if not sizes:
        none = np.empty(0, np.float32)
        return offset[:0], starts[0], np.empty(0, np.int32), none, none
    return (
        offset[:-1],
        np.concatenate(starts),
        np.concatenate(lift_items),
        np.concatenate(lift_counts).astype(np.float32),
        np.concatenate(shares).astype(np.float32),
    )


def _head(popularity: Array) -> Array:
    depth = min(TOP_ITEMS, len(popularity))
    return np.argsort(-popularity, kind="stable")[:depth].astype(np.int32)


def _value_top(popularity: Array, buyers: Array, start: Array, items: Array, counts: Array, share: Array) -> Array:
    top = np.full((len(share), VALUE_TOP_ITEMS), -1, np.int32)
    for value in range(len(share)):
        span = slice(start[value], start[value + 1])
        held = items[span]
        lift = np.log((counts[span] + LIFT_SMOOTHING) / (buyers[held] * share[value] + LIFT_SMOOTHING))
        best = held[np.argsort(-(popularity[held] + lift), kind="stable")[:VALUE_TOP_ITEMS]]
        top[value, : len(best)] = best
    return top


def _code_shares(data: Prepared, items: Array, weights: Array) -> list[Array]:
    mass = np.bincount(items, weights, len(data.catalogue))
    shares = []
    for codes, vocabulary in zip(data.catalogue.codes, data.item_vocabularies, strict=True):
        spread = np.repeat(mass, codes.shape[1])
        held = np.bincount(codes[:-1].ravel(), spread, vocabulary.size)
        shares.append(np.log((held + 1) / (mass.sum() + vocabulary.size)).astype(np.float32))
    return shares


def _code_lifts(data: Prepared, users: Array, items: Array, value_share: Array) -> list[Array]:
    """Return a table float32 [values, codes] for each item field, from the distinct pairs of users and items."""
    lifts = []
    for codes, vocabulary in zip(data.catalogue.codes, data.item_vocabularies, strict=True):
        if not data.user_vocabularies or len(value_share) * vocabulary.size > MAX_CODE_LIFTS:
            lifts.append(np.empty((0, 0), np.float32))
            continue
        held = [
            _held(data.user_codes[users], data.user_vocabularies, codes[items, part], vocabulary.size)
            for part in range(codes.shape[1])
        ]
        together = np.sum(held, 0)
        total = np.bincount(codes[items].ravel(), minlength=vocabulary.size)
        expected = value_share[:, None] * total + LIFT_SMOOTHING
        lifts.append(np.log((together + LIFT_SMOOTHING) / expected).astype(np.float32))
    return lifts


def _held(user_codes: Array, vocabularies: Sequence[Vocabulary], codes: Array, size: int) -> Array:
    """Count the pairs of each value of each user field with each code, float [values, codes]."""
    tables = [
        np.bincount(user_codes[:, number].astype(np.int64) * size + codes, minlength=vocabulary.size * size)
        for number, vocabulary in enumerate(vocabularies)
    ]
    return np.concatenate(tables).reshape(-1, size)
