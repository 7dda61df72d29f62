"""Baselines: simple lists from the same statistics as the chain's, at the same cut-off and with the same exclusions."""

from collections.abc import Callable, Mapping

import numpy as np

from jobs.train.data.rows import Candidates
from recmesh.evaluation.report import POPULARITY
from recmesh.features import Encoder, Segment
from recmesh.features.spec import Ints
from recmesh.kernels import Votes
from recmesh.retrieval.scored import best

LENGTH = 100
"""Items of a list that is evaluated."""

Baseline = Callable[[Encoder, Candidates], Ints]


def popularity(encoder: Encoder, candidates: Candidates) -> Ints:
    """List the most popular items of all time."""
    head = encoder.statistics.order[: LENGTH + len(candidates.excluded)]
    return head[~np.isin(head, candidates.excluded)][:LENGTH]


def item_cf(encoder: Encoder, candidates: Candidates) -> Ints:
    """List items by the sum of their cosines to the history, then by popularity."""
    return _voted(encoder, candidates, encoder.votes(candidates.user)[1])


def ease(encoder: Encoder, candidates: Candidates) -> Ints:
    """List items by the sum of their ridge weights (sparse EASE) over the history, then by popularity."""
    return _voted(encoder, candidates, encoder.votes(candidates.user)[0])


def own_frequency(encoder: Encoder, candidates: Candidates) -> Ints:
    """List the user's own items by number of actions and then the newest first, then other items by popularity."""
    owned = candidates.user.owned
    return _filled(encoder, candidates, owned.items[np.lexsort((np.arange(len(owned.items)), -owned.counts))])


def baselines_of(segment: Segment) -> Mapping[str, Baseline]:
    """Return the baselines that are meaningful for a segment, by name."""
    if segment == "cold":
        return {POPULARITY: popularity}
    known: dict[str, Baseline] = {POPULARITY: popularity, "item_cf": item_cf, "ease": ease}
    return known | {"own_frequency": own_frequency} if segment == "repeat" else known


def _voted(encoder: Encoder, candidates: Candidates, votes: Votes) -> Ints:
    found = best(votes.items, votes.all, LENGTH, encoder.scratch, candidates.excluded, above=0)
    return _filled(encoder, candidates, found.items)


def _filled(encoder: Encoder, candidates: Candidates, items: Ints) -> Ints:
    head = items[:LENGTH]
    more = popularity(encoder, candidates)
    return np.concatenate([head, more[~np.isin(more, head)]])[:LENGTH]
