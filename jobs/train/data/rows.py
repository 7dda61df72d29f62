"""Rows for the ranker: for users of a window the candidates that the channels really return, their inputs and
labels."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from jobs.train.data.prepare import Prepared
from jobs.train.data.windows import Window
from recmesh.features import Encoder, User
from recmesh.features.spec import SEGMENTS, Floats, Ints, Longs, Segment
from recmesh.features.user import History, newest_first
from recmesh.retrieval import Merged, Retriever, Scored

HISTORY = 500
"""Newest actions that a history keeps in detail, as in the store of histories."""

_POSITIVES, _NEGATIVES = 48, 100

_POWERS: dict[Segment, float] = {"cold": 0.25, "novel": 0.5, "repeat": 0.5}
"""A positive weighs as much as its list has of them, to the power of minus this. Among new users those who want much
count for more: their lists are long, and a higher power gives away the head of them (docs/adr/013)."""

UserVectors = Callable[[Sequence[User]], Floats]
"""The user tower: users -> float32 [users, dim]."""


@dataclass(frozen=True)
class Moment:
    """A window with the features of its moment. `item_vectors` float32 [items, dim] of a tower that has not seen the
    labels."""

    window: Window
    encoder: Encoder
    item_vectors: Floats
    user_vectors: UserVectors


@dataclass(frozen=True)
class Candidates:
    """What the chain has in hand for one user before ranking. `row`: of the user in the data set.

    `wanted`: all items of the labels, retrieved or not. `excluded`: the items that must not come.
    """

    row: int
    user: User
    vector: Floats
    segment: Segment
    wanted: Ints
    excluded: Ints
    channels: dict[str, Scored]
    merged: Merged
    dense: Floats
    sparse: Longs

    @cached_property
    def labels(self) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
        """Which candidates are wanted."""
        return np.isin(self.merged.items, self.wanted)


@dataclass(frozen=True)
class Rows:
    """Lists one after another: those of list k are start[k]:start[k + 1]; `weight` float32 a list."""

    dense: Floats
    sparse: Longs
    labels: Floats
    start: Longs
    weight: Floats
    segments: Ints


def history_of(data: Prepared, begin: int, end: int) -> History:
    """The history of the actions begin:end, as the services would get it at that moment."""
    # Actions of one moment stay in the order of the data set, as the ingestion leaves them.
    rows = slice(begin, end)
    return newest_first(data.items[rows], data.times[rows], data.types[rows], data.values[rows], HISTORY)


def wanted_items(data: Prepared, window: Window, user: int, segment: Segment) -> Ints:
    """The items of a user's labels; without those seen before where only new ones count."""
    labels = np.unique(data.items[window.begin[user] : window.until[user]])
    if segment == "novel":
        return np.setdiff1d(labels, data.items[data.start[user] : window.known[user]])
    return labels


def segments_of(data: Prepared, window: Window) -> tuple[Segment, ...]:
    """The segments that a window has labels for."""
    if window.cold:
        return ("cold",)
    return ("novel", "repeat") if data.spec.repeats else ("novel",)


@dataclass(frozen=True)
class Retrieved:
    """What the channels give for one user, and what was wanted. `row`: of the user in the data set."""

    row: int
    user: User
    vector: Floats
    wanted: Ints
    excluded: Ints
    channels: dict[str, Scored]


def retrieved(data: Prepared, moment: Moment, users: Longs, segment: Segment) -> Iterator[Retrieved]:
    """Run the channels for users of a window, as the services do. Users without a wanted item are passed over."""
    encoder, window = moment.encoder, moment.window
    retriever = Retriever(encoder)
    begin = np.zeros(len(window.known), np.int64) if segment == "cold" else data.start[:-1]
    end = begin if segment == "cold" else window.known
    wanted = [wanted_items(data, window, int(row), segment) for row in users]
    rows = [row for row, one in zip(users.tolist(), wanted, strict=True) if len(one)]
    asked = [encoder.known_user(data.user_codes[u], history_of(data, begin[u], end[u])) for u in rows]
    if not asked:
        return
    vectors = moment.user_vectors(asked)
    for row, user, vector, labels in zip(rows, asked, vectors, (one for one in wanted if len(one)), strict=True):
        exclude = retriever.excluded(user, segment != "repeat")
        found = retriever.exact(user, vector, moment.item_vectors, exclude, segment != "repeat")
        yield Retrieved(row, user, vector, labels, exclude, found)
        user.memory.clear()


def candidates(data: Prepared, moment: Moment, users: Longs, segment: Segment) -> Iterator[Candidates]:
    """Run the channels, the merge and the ranker's features for users of a window."""
    encoder = moment.encoder
    retriever = Retriever(encoder)
    for one in retrieved(data, moment, users, segment):
        merged = retriever.merge(one.channels, segment)
        inputs = encoder.ranker_inputs(one.user, merged.items, segment != "repeat", user_vector=one.vector)
        yield Candidates(
            row=one.row,
            user=one.user,
            vector=one.vector,
            segment=segment,
            wanted=one.wanted,
            excluded=one.excluded,
            channels=one.channels,
            merged=merged,
            dense=inputs["dense"],
            sparse=inputs["sparse"],
        )


def ranked(lists: Sequence[Candidates], scores: Iterable[Floats]) -> Iterator[Ints]:
    """The candidates of each list, best first."""
    for one, mine in zip(lists, scores, strict=True):
        yield one.merged.items[np.argsort(-mine, kind="stable")]


def sampled(lists: Sequence[Candidates], segment: Segment, seed: int) -> Rows:
    """Training rows: of each list its positives, at most 48, and some of its own other candidates."""
    rng = np.random.default_rng(seed)
    dense, sparse, labels, sizes, weight = [], [], [], [], []
    for one in lists:
        positive = one.labels
        hits = np.flatnonzero(positive)
        if len(hits) > _POSITIVES:
            hits = rng.choice(hits, _POSITIVES, replace=False)
        others = np.flatnonzero(~positive)
        if not len(hits) or not len(others):
            continue
        chosen = np.concatenate([hits, rng.choice(others, min(_NEGATIVES, len(others)), replace=False)])
        dense.append(one.dense[chosen])
        sparse.append(one.sparse[chosen])
        labels.append(positive[chosen])
        sizes.append(len(chosen))
        weight.append(len(hits) ** -_POWERS[segment])
    if not dense:
        return Rows(*_NOTHING)
    start = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return Rows(
        np.concatenate(dense),
        np.concatenate(sparse),
        np.concatenate(labels).astype(np.float32),
        start,
        np.array(weight, np.float32),
        np.full(len(sizes), SEGMENTS.index(segment), np.int32),
    )


def some(rows: Rows, count: int) -> Rows:
    """At most `count` of the lists, spread evenly."""
    if len(rows.weight) <= count:
        return rows
    lists = np.linspace(0, len(rows.weight) - 1, count).astype(np.int64)
    sizes = np.diff(rows.start)
    kept = np.isin(np.repeat(np.arange(len(sizes)), sizes), lists)
    start = np.concatenate([[0], np.cumsum(sizes[lists])]).astype(np.int64)
    weight, segments = rows.weight[lists], rows.segments[lists]
    return Rows(rows.dense[kept], rows.sparse[kept], rows.labels[kept], start, weight, segments)


def joined(parts: Sequence[Rows]) -> Rows:
    """Several sets of rows as one."""
    parts = [part for part in parts if len(part.weight)]
    if not parts:
        return Rows(*_NOTHING)
    shifts = np.cumsum([0, *(len(part.labels) for part in parts)])
    start = np.concatenate([[0], *(part.start[1:] + shift for part, shift in zip(parts, shifts, strict=False))])
    return Rows(
        np.concatenate([part.dense for part in parts]),
        np.concatenate([part.sparse for part in parts]),
        np.concatenate([part.labels for part in parts]),
        start.astype(np.int64),
        np.concatenate([part.weight for part in parts]),
        np.concatenate([part.segments for part in parts]),
    )


_NOTHING = (
    np.empty((0, 0), np.float32),
    np.empty((0, 0), np.int64),
    np.empty(0, np.float32),
    np.zeros(1, np.int64),
    np.empty(0, np.float32),
    np.empty(0, np.int32),
)
