"""Candidate lists and training rows.

For users of a window, these are the candidates that the channels return, with the inputs of the ranker and the labels.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from jobs.train.data.prepare import Prepared
from jobs.train.data.windows import Window
from recmesh.contract import DETAILED_ACTIONS
from recmesh.features import Encoder, User
from recmesh.features.spec import SEGMENTS, Floats, Ints, Longs, Mask, Segment
from recmesh.features.user import History, newest_first
from recmesh.retrieval import Merged, Retriever, Scored

MAX_POSITIVES, MAX_NEGATIVES = 48, 100
"""Rows that training takes from one list."""

_WEIGHT_POWERS: dict[Segment, float] = {"cold": 0.25, "novel": 0.5, "repeat": 0.5}
"""A positive row weighs (number of positives in its list) ** -power. Among new users the power is smaller, so users
with many labels count for more; a higher power makes the first places of their lists worse (docs/adr/013)."""

UserVectors = Callable[[Sequence[User]], Floats]
"""The user tower: users -> float32 [users, dim]."""


@dataclass(frozen=True)
class Snapshot:
    """A window with the features at its cut-off.

    Attributes:
        window: The window.
        encoder: Encodes users and items with the statistics of the cut-off.
        item_vectors: float32 [items, dim], from towers that have not seen the labels.
        user_vectors: The user tower of the same towers.
        rates: The items that are acted on most at the cut-off.
    """

    window: Window
    encoder: Encoder
    item_vectors: Floats
    user_vectors: UserVectors
    rates: Scored

    @cached_property
    def retriever(self) -> Retriever:
        """The retriever of the encoder, which caches the popular items of profiles."""
        return Retriever(self.encoder)


@dataclass(frozen=True)
class Retrieved:
    """The results of the channels for one user.

    Attributes:
        row: Number of the user in the data set.
        user: The encoded user.
        vector: float32 [dim], the user's vector.
        wanted: All items of the labels, retrieved or not.
        excluded: Items that the list must not contain.
        channels: The items of each channel, best first.
    """

    row: int
    user: User
    vector: Floats
    wanted: Ints
    excluded: Ints
    channels: dict[str, Scored]


@dataclass(frozen=True)
class Candidates:
    """The candidate list of one user before ranking.

    Attributes:
        row: Number of the user in the data set.
        user: The encoded user.
        vector: float32 [dim], the user's vector.
        segment: The segment of the request.
        wanted: All items of the labels, retrieved or not.
        excluded: Items that the list must not contain.
        channels: The items of each channel, best first.
        merged: The N candidates in the order of the merge.
        dense: float32 [N, D], dense inputs of the ranker.
        sparse: int64 [N, C], sparse inputs of the ranker.
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
    def labels(self) -> Mask:
        """Which candidates are wanted, bool [N]."""
        return np.isin(self.merged.items, self.wanted)


@dataclass(frozen=True)
class Rows:
    """Training rows of L lists, one list after the other.

    Attributes:
        dense: float32 [N, D].
        sparse: int64 [N, C].
        labels: float32 [N], 1 for a wanted item. Each list begins with its positives.
        start: int64 [L + 1]; the rows of list k are start[k]:start[k + 1].
        weight: float32 [L], the weight of each positive of the list.
        segments: int32 [L], positions in `SEGMENTS`.
    """

    dense: Floats
    sparse: Longs
    labels: Floats
    start: Longs
    weight: Floats
    segments: Ints


def history_of(data: Prepared, begin: int, end: int) -> History:
    """Return the history that consists of the actions begin:end, as the services would receive it."""
    # Actions of the same time stay in the order of the data set, as ingestion leaves them.
    rows = slice(begin, end)
    return newest_first(data.items[rows], data.times[rows], data.types[rows], data.values[rows], DETAILED_ACTIONS)


def wanted_items(data: Prepared, window: Window, user: int, segment: Segment) -> Ints:
    """Return the distinct items of a user's positive labels. For `novel`, known items do not count."""
    rows = slice(window.begin[user], window.until[user])
    labels = np.unique(data.items[rows][data.positive[rows]])
    if segment == "novel":
        return np.setdiff1d(labels, data.items[data.start[user] : window.known[user]])
    return labels


def segments_of(data: Prepared, window: Window) -> tuple[Segment, ...]:
    """Return the segments for which a window has labels."""
    if window.cold:
        return ("cold",)
    return ("novel", "repeat") if data.spec.repeats else ("novel",)


def retrieved(data: Prepared, snapshot: Snapshot, users: Longs, segment: Segment) -> Iterator[Retrieved]:
    """Run the channels for users of a window, as the services do.

    Yields:
        The results of each user with at least one wanted item. A user without a positive known action counts as new to
        the services, and is in no warm list.
    """
    encoder, window = snapshot.encoder, snapshot.window
    retriever = snapshot.retriever
    begin = np.zeros(len(window.known), np.int64) if segment == "cold" else data.start[:-1]
    end = begin if segment == "cold" else window.known
    labels = ((row, wanted_items(data, window, row, segment)) for row in users.tolist())
    labelled = [(row, wanted) for row, wanted in labels if len(wanted)]
    encoded = [
        (row, wanted, encoder.known_user(data.user_codes[row], history_of(data, begin[row], end[row])))
        for row, wanted in labelled
    ]
    encoded = [found for found in encoded if encoder.segment(found[2], segment == "novel") == segment]
    if not encoded:
        return
    vectors = snapshot.user_vectors([user for _, _, user in encoded])
    for (row, wanted, user), vector in zip(encoded, vectors, strict=True):
        exclude = retriever.excluded(user, segment != "repeat")
        found = retriever.exact(user, vector, snapshot.item_vectors, exclude, segment != "repeat", snapshot.rates)
        yield Retrieved(row, user, vector, wanted, exclude, found)
        user.memory.clear()


def candidates(data: Prepared, snapshot: Snapshot, users: Longs, segment: Segment) -> Iterator[Candidates]:
    """Run the channels, the merge and the ranker's features for users of a window.

    Yields:
        The candidate list of each user with at least one wanted item.
    """
    encoder = snapshot.encoder
    retriever = snapshot.retriever
    for found in retrieved(data, snapshot, users, segment):
        merged = retriever.merge(found.channels, segment)
        inputs = encoder.ranker_inputs(found.user, merged.items, segment != "repeat", user_vector=found.vector)
        yield Candidates(
            row=found.row,
            user=found.user,
            vector=found.vector,
            segment=segment,
            wanted=found.wanted,
            excluded=found.excluded,
            channels=found.channels,
            merged=merged,
            dense=inputs["dense"],
            sparse=inputs["sparse"],
        )


def ranked(lists: Sequence[Candidates], scores: Iterable[Floats]) -> Iterator[Ints]:
    """Sort the candidates of each list by its scores, best first."""
    for candidate_list, list_scores in zip(lists, scores, strict=True):
        yield candidate_list.merged.items[np.argsort(-list_scores, kind="stable")]


def sampled(lists: Sequence[Candidates], segment: Segment, seed: int) -> Rows:
    """Sample training rows from each list: at most 48 positives and 100 other candidates.

    Lists without a positive, or without a negative, give no rows.
    """
    rng = np.random.default_rng(seed)
    dense, sparse, labels, sizes, weight = [], [], [], [], []
    for candidate_list in lists:
        positive = candidate_list.labels
        hits = np.flatnonzero(positive)
        if len(hits) > MAX_POSITIVES:
            hits = rng.choice(hits, MAX_POSITIVES, replace=False)
        others = np.flatnonzero(~positive)
        if not len(hits) or not len(others):
            continue
        chosen = np.concatenate([hits, rng.choice(others, min(MAX_NEGATIVES, len(others)), replace=False)])
        dense.append(candidate_list.dense[chosen])
        sparse.append(candidate_list.sparse[chosen])
        labels.append(positive[chosen])
        sizes.append(len(chosen))
        weight.append(len(hits) ** -_WEIGHT_POWERS[segment])
    if not dense:
        return Rows(*_NO_ROWS)
    start = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return Rows(
        np.concatenate(dense),
        np.concatenate(sparse),
        np.concatenate(labels).astype(np.float32),
        start,
        np.array(weight, np.float32),
        np.full(len(sizes), SEGMENTS.index(segment), np.int32),
    )


def subset(rows: Rows, count: int) -> Rows:
    """Return at most `count` of the lists, evenly spaced."""
    if len(rows.weight) <= count:
        return rows
    lists = np.linspace(0, len(rows.weight) - 1, count).astype(np.int64)
    sizes = np.diff(rows.start)
    kept = np.isin(np.repeat(np.arange(len(sizes)), sizes), lists)
    start = np.concatenate([[0], np.cumsum(sizes[lists])]).astype(np.int64)
    weight, segments = rows.weight[lists], rows.segments[lists]
    return Rows(rows.dense[kept], rows.sparse[kept], rows.labels[kept], start, weight, segments)


def joined(parts: Sequence[Rows]) -> Rows:
    """Concatenate several sets of rows."""
    parts = [part for part in parts if len(part.weight)]
    if not parts:
        return Rows(*_NO_ROWS)
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


_NO_ROWS = (
    np.empty((0, 0), np.float32),
    np.empty((0, 0), np.int64),
    np.empty(0, np.float32),
    np.zeros(1, np.int64),
    np.empty(0, np.float32),
    np.empty(0, np.int32),
)
