"""In which order a segment's candidates are served: the ranker's, or a simpler one where that is clearly better.

A ranker is fitted to what it is given; on few users, or on data of a kind that nobody thought of, something simpler may
win. Whatever is served is an order of the same candidates, so that nothing else depends on it: a channel comes first
when the weights of the others are next to nothing, and popularity is a ranker with one input.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from jobs.train.data.rows import Candidates
from jobs.train.selection.objective import WORTH, clear, worth
from recmesh.evaluation import Decision, per_user
from recmesh.features import FeatureSpec, Segment
from recmesh.features.spec import Array, Channel, Floats, Ints

RANKER, MERGE, POPULARITY = "ranker", "merge", "popularity"
POPULARITY_INPUT = 0
"""The ranker's first input is the first popularity."""

_NEXT_TO_NOTHING = 1e-6


def ordered(one: Candidates, order: str) -> Ints:
    """The items of a list in a simpler order than the ranker's; of a channel: its own first, the others as merged."""
    items = one.merged.items
    if order == MERGE:
        return items
    if order == POPULARITY:
        return items[np.argsort(-one.dense[:, POPULARITY_INPUT], kind="stable")]
    head = one.channels[order].items
    return np.concatenate([head[np.isin(head, items)], items[~np.isin(items, head)]])


def simpler(tested: Sequence[Candidates]) -> dict[str, Array]:
    """For each simpler order the metrics of each user, float [users, 3]."""
    channels = dict.fromkeys(name for one in tested for name in one.channels)
    return {
        order: per_user((ordered(one, order), one.wanted) for one in tested) for order in (MERGE, POPULARITY, *channels)
    }


def decided(moments: Sequence[Mapping[str, Array]]) -> Decision:
    """The ranker's order, unless the merged one is worth more over all lists by more than the standard error of the
    difference; and either of them, unless a simpler one is.

    moments: for each moment that lists are judged at, the metrics of each user, float [users, 3], by order. An order
    that a moment lacks is not looked at.
    """
    names = [name for name in moments[0] if all(name in tried for tried in moments)]
    tried = {name: np.concatenate([one[name] for one in moments]) for name in names}
    chosen = RANKER
    for name in names:
        if clear(worth(tried[name] - tried[chosen])):
            chosen = name
    return Decision(
        what="order",
        chosen=chosen,
        tried={name: float(worth(figures).mean()) for name, figures in tried.items()},
        rule=f"the first, unless a later one is worth more, here and at early moments, by more than its error: {WORTH}",
    )


def scores(one: Candidates, order: str) -> Floats:
    """Scores of the candidates by which they fall into a simpler order."""
    if order == MERGE:
        return one.merged.scores
    items = ordered(one, order)
    place = np.empty(len(items), np.float32)
    place[np.argsort(one.merged.items)] = np.argsort(items)
    return -place


def put(spec: FeatureSpec, served: Mapping[Segment, str]) -> FeatureSpec:
    """The spec with the order of each segment."""
    channels = dict(spec.channels)
    for segment, order in served.items():
        if order in channels.get(segment, {}):
            channels[segment] = {name: _weighed(one, name == order) for name, one in channels[segment].items()}
    rankers = {segment: order in (RANKER, POPULARITY) for segment, order in served.items()}
    return spec.model_copy(update={"channels": channels, "rankers": rankers})


def _weighed(channel: Channel, comes_first: bool) -> Channel:
    return channel if comes_first else channel.model_copy(update={"weight": channel.weight * _NEXT_TO_NOTHING})
