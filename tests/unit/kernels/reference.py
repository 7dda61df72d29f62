"""The kernels in plain numpy: slow, but easy to check by reading. `recmesh.kernels` documents what they compute."""

from collections.abc import Sequence

import numpy as np

from recmesh.features import Encoder, User
from recmesh.features.ranker_inputs import LIFT_SMOOTHING
from recmesh.features.spec import DAY_MS, SEGMENTS, Floats, Ints, Segment
from recmesh.features.statistics import Lists
from recmesh.kernels import Owned, Votes

_CODE_SMOOTHING, _LIST_SCALE, _VOTE_POWER = 5.0, 20.0, 0.3


def best(items: Ints, scores: Floats, depth: int, exclude: Ints, above: float) -> tuple[Ints, Floats]:
    """Return the best items and their scores; ties are ordered by item number."""
    allowed = (scores > above) & ~np.isin(items, exclude)
    items, scores = items[allowed], scores[allowed]
    order = np.lexsort((items, -scores))[:depth]
    return items[order], scores[order]


def fuse(lists: Sequence[Ints], weights: Sequence[float], constant: int) -> dict[int, float]:
    """Return the sum of weight / (constant + position) of each item."""
    sums: dict[int, float] = {}
    for items, weight in zip(lists, weights, strict=True):
        for position, item in enumerate(items.tolist(), 1):
            sums[item] = sums.get(item, 0.0) + weight / (constant + position)
    return sums


def owned(user: User) -> Owned:
    """Return the distinct items of a user's history, newest first."""
    history = user.history
    weights = user.action_weights(history.items, history.times, history.types, history.values).tolist()
    all_actions = [
        (item, time, weight)
        for item, time, weight in zip(history.items.tolist(), history.times.tolist(), weights, strict=True)
        if item >= 0
    ]
    times = sorted({time for _, time, _ in all_actions}, reverse=True)
    actions = [action for action in all_actions if action[2] > 0]
    items = list(dict.fromkeys(item for item, _, _ in actions))
    by_item = [[(time, weight) for other, time, weight in actions if other == item] for item in items]
    steps = np.array([times.index(own[0][0]) for own in by_item], np.float32)
    strength = np.array([max(weight for _, weight in own) for own in by_item], np.float32)
    return Owned(
        items=np.array(items, np.int32),
        days=np.array([(user.now - own[0][0]) / DAY_MS for own in by_item], np.float32),
        steps=steps,
        counts=np.array([len({time for time, _ in own}) for own in by_item], np.float32),
        weights=(user.recency**steps * strength).astype(np.float32),
        strength=strength,
    )


def votes(lists: Lists, history: Owned) -> Votes:
    """Return the sums of the neighbour lists of a history's items."""
    all_, recent = (np.zeros(len(lists.start) - 1, np.float32) for _ in range(2))
    met = np.zeros(len(all_), np.bool_)
    for item, strength, weight in zip(history.items, history.strength, history.weights, strict=True):
        span = slice(lists.start[item], lists.start[item + 1])
        all_[lists.items[span]] += lists.scores[span] * strength
        recent[lists.items[span]] += lists.scores[span] * weight
        met[lists.items[span]] = True
    items = np.flatnonzero(met).astype(np.int32)
    return Votes(items, all_[items], recent[items])


def ranker_row(
    encoder: Encoder, user: User, item: int, codes: Sequence[Ints], numbers: Floats, vector: Floats | None
) -> dict[str, float]:
    """Return the dense inputs of an item by name.

    Args:
        encoder: The encoder of a release.
        user: The user.
        item: The number of the item, or -1.
        codes: For each item field the item's codes.
        numbers: For each item field the item's number.
        vector: The user's vector, if there is one.
    """
    spec, statistics, history = encoder.spec, encoder.statistics, user.owned
    row = {f"popularity_{p.name}": statistics.popularity[item, k] for k, p in enumerate(spec.popularities)}
    row["repeat_rate"] = statistics.repeat_rate[item]
    row["age"] = np.log1p(max(user.now - statistics.first_seen[item], 0) / DAY_MS) if spec.clock else 0.0
    for number, field in enumerate(spec.user_fields):
        row[f"lift_{field.name}"] = _lift(encoder, number, int(user.codes[number]), item)
    row["tower"] = (
        float(encoder_vectors(encoder)[item] @ vector) if vector is not None and item >= 0 else spec.neutral_logit
    )
    for number, field in enumerate(spec.item_fields):
        row[f"{field.name}_profile"] = _profile(encoder, user, number, codes[number])
    if not len(history.items):
        return row
    row |= _votes(encoder, user, item)
    for number, field in enumerate(spec.item_fields):
        row |= {
            f"{field.name}_{part}": value for part, value in _codes(encoder, history, number, codes[number]).items()
        }
        if field.kind == "numeric":
            mine = encoder.catalogue.numbers[history.items, number]
            row[f"{field.name}_distance"] = -abs(numbers[number] - np.average(mine, weights=history.counts))
    first_lift = row.get(f"{spec.item_fields[0].name}_lift", 0.0) if spec.item_fields else 0.0
    row |= _own(encoder, user, item, first_lift)
    idle = history.days.min() if spec.clock else 0.0
    return row | {
        "user_items": np.log1p(len(history.items)),
        "user_moments": np.log1p(user.distinct_times),
        "user_recency": np.log1p(idle),
    }


def sparse_row(encoder: Encoder, user: User, segment: Segment, codes: Sequence[Ints]) -> list[int]:
    """Return the sparse inputs of an item, given the codes of each item field."""
    offsets = np.concatenate([[0], np.cumsum(encoder.spec.columns)[:-1]])
    first_codes = [field_codes[0] for field_codes in codes]
    row: list[int] = (np.array([SEGMENTS.index(segment), *user.codes, *first_codes]) + offsets).tolist()
    return row


def encoder_vectors(encoder: Encoder) -> Floats:
    """Return the item vectors that an encoder was made with."""
    vectors: Floats = encoder._inputs._release._kept["vectors"]
    return vectors


def _lift(encoder: Encoder, field: int, code: int, item: int) -> float:
    statistics = encoder.statistics
    value = int(statistics.lift_offset[field]) + code
    span = slice(statistics.lift_start[value], statistics.lift_start[value + 1])
    counts = dict(zip(statistics.lift_items[span].tolist(), statistics.lift_counts[span].tolist(), strict=True))
    expected = statistics.buyers[item] * statistics.value_share[value]
    return float(np.log((counts.get(item, 0.0) + LIFT_SMOOTHING) / (expected + LIFT_SMOOTHING)))


def _profile(encoder: Encoder, user: User, field: int, codes: Ints) -> float:
    values = encoder.statistics.lift_offset + user.codes
    lifts = encoder.statistics.code_lift[field]
    sums = [lifts[values, code].sum() for code in codes[codes > 0].tolist()] if lifts.size else []
    return float(np.mean(sums)) if sums else 0.0


def _votes(encoder: Encoder, user: User, item: int) -> dict[str, float]:
    history, row = user.owned, {}
    for name, lists in (("ridge", encoder.statistics.ridge), ("cosine", encoder.statistics.cosine)):
        found = votes(lists, history)
        sizes = (np.sqrt(len(history.items)), np.sqrt(history.weights.sum() + 1e-6))
        for prefix, sums, size in zip(("", "recent_"), (found.all, found.recent), sizes, strict=True):
            vote = dict(zip(found.items.tolist(), sums.tolist(), strict=True)).get(item, 0.0)
            row[f"{prefix}{name}"] = np.sign(vote) * np.log1p(abs(vote) * _LIST_SCALE / size)
            row[f"relative_{prefix}{name}"] = (max(vote, 0.0) / max(sums.max(initial=0.0), 1e-9)) ** _VOTE_POWER
    return row


def _codes(encoder: Encoder, history: Owned, field: int, codes: Ints) -> dict[str, float]:
    parts: dict[str, list[float]] = {"count": [], "lift": [], "items": [], "recent": []}
    mine = encoder.catalogue.codes[field][history.items]
    for code in codes[codes > 0].tolist():
        same = (mine == code).sum(1)
        count, items, recent = (
            (same * weight).sum() for weight in (history.counts, np.ones(len(same)), history.weights)
        )
        expected, total = np.exp(encoder.statistics.code_share[field][code]), history.counts.sum()
        parts["count"].append(np.log1p(count))
        parts["lift"].append(np.log((count + _CODE_SMOOTHING * expected) / ((total + _CODE_SMOOTHING) * expected)))
        parts["items"].append(np.log1p(items))
        parts["recent"].append(np.log1p(_LIST_SCALE * recent))
    return {name: float(np.mean(values)) if values else 0.0 for name, values in parts.items()}


def _own(encoder: Encoder, user: User, item: int, first_lift: float) -> dict[str, float]:
    history, popularity = user.owned, encoder.statistics.popularity[:, 0]
    places = np.flatnonzero(history.items == item)
    if not len(places):
        return {}
    count = float(history.counts[places[0]])
    since = history.days if encoder.spec.clock else history.steps
    ago = np.log1p(since[places[0]])
    return {
        "owned": 1.0,
        "own_count": np.log1p(count),
        "own_rate": np.log((count + 0.1) / user.distinct_times),
        "own_share": count / history.counts.sum(),
        "own_recency": -ago,
        "own_ratio": -(ago - np.log1p(since.min())),
        "own_x_size": np.log1p(len(history.items)),
        "own_x_moments": np.log1p(user.distinct_times),
        "own_x_popularity": popularity[item] - popularity[-1],
        "own_x_once": float(count == 1),
        "own_x_often": float(count > 2),
        "own_x_affinity": first_lift,
        "own_x_repeat_rate": np.log(encoder.statistics.repeat_rate[item] + 0.01),
    }
