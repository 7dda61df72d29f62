"""Lists by simple means, at the same moment, from the same statistics, under the same exclusions as the chain's."""

from collections.abc import Callable, Mapping

import numpy as np

from jobs.train.data.rows import Candidates
from recmesh.evaluation.report import POPULARITY
from recmesh.features import Encoder, Segment
from recmesh.features.spec import Ints
from recmesh.kernels import Votes
from recmesh.retrieval.scored import best

LENGTH = 100
"""Items of a list that is judged."""

Baseline = Callable[[Encoder, Candidates], Ints]


def popularity(encoder: Encoder, one: Candidates) -> Ints:
    """The most popular items of all time."""
    head = encoder.statistics.order[: LENGTH + len(one.excluded)]
    return head[~np.isin(head, one.excluded)][:LENGTH]


def item_cf(encoder: Encoder, one: Candidates) -> Ints:
    """Sums of cosine neighbours over the history, then popularity."""
    return _voted(encoder, one, encoder.votes(one.user)[1])


def ease(encoder: Encoder, one: Candidates) -> Ints:
    """Sums of the ridge lists (EASE on the 100 best candidates of each item) over the history, then popularity."""
    return _voted(encoder, one, encoder.votes(one.user)[0])


def own_frequency(encoder: Encoder, one: Candidates) -> Ints:
    """The user's own items, those acted on most often first, the newest first among equals; then popularity."""
    owned = one.user.owned
    return _filled(encoder, one, owned.items[np.lexsort((np.arange(len(owned.items)), -owned.counts))])


def baselines_of(segment: Segment) -> Mapping[str, Baseline]:
    """The baselines that mean something for a segment."""
    if segment == "cold":
        return {POPULARITY: popularity}
    known: dict[str, Baseline] = {POPULARITY: popularity, "item_cf": item_cf, "ease": ease}
    return known | {"own_frequency": own_frequency} if segment == "repeat" else known


def _voted(encoder: Encoder, one: Candidates, votes: Votes) -> Ints:
    found = best(votes.items, votes.all, LENGTH, encoder.scratch, one.excluded, above=0)
    return _filled(encoder, one, found.items)


def _filled(encoder: Encoder, one: Candidates, items: Ints) -> Ints:
    head = items[:LENGTH]
    more = popularity(encoder, one)
    return np.concatenate([head, more[~np.isin(more, head)]])[:LENGTH]
