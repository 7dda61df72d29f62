"""The order in which the candidates of a segment are served: the ranker's, or a simpler one that is clearly better.

With few users, or with unusual data, a simple order can beat the fitted ranker. Every order sorts the same candidates,
and serving needs no code for it: a channel comes first if the weights of the other channels are almost 0, and
popularity is a ranker with one input.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from jobs.train.data.rows import Candidates
from jobs.train.selection.objective import OBJECTIVE, exceeds_standard_error, objective
from recmesh.contract import NEW, TRENDING
from recmesh.evaluation import Decision, per_user
from recmesh.features import FeatureSpec, Segment
from recmesh.features.spec import Array, Channel, Floats, Ints

RANKER, MERGE, POPULARITY = "ranker", "merge", "popularity"
POPULARITY_INPUT = 0
"""The first input of the ranker is the first popularity."""

_NO_ORDERS = (NEW, TRENDING)
"""Channels that cannot lead a list: in serving they may be empty."""

NEGLIGIBLE_WEIGHT = 1e-6
"""Factor for the weights of the channels behind the one that comes first."""


def ordered(candidates: Candidates, order: str) -> Ints:
    """Return the items of a list in a simpler order than the ranker's.

    Args:
        candidates: The list.
        order: MERGE, POPULARITY, or the name of a channel, whose items then come first.
    """
    items = candidates.merged.items
    if order == MERGE:
        return items
    if order == POPULARITY:
        return items[np.argsort(-candidates.dense[:, POPULARITY_INPUT], kind="stable")]
    head = candidates.channels[order].items
    return np.concatenate([head[np.isin(head, items)], items[~np.isin(items, head)]])


def simpler(tested: Sequence[Candidates]) -> dict[str, Array]:
    """Evaluate all simpler orders: by order, the metrics of each user, float [users, 3]."""
    channels = dict.fromkeys(name for candidates in tested for name in candidates.channels if name not in _NO_ORDERS)
    return {
        order: per_user((ordered(candidates, order), candidates.wanted) for candidates in tested)
        for order in (MERGE, POPULARITY, *channels)
    }


def decided(figures: Sequence[Mapping[str, Array]]) -> Decision:
    """Choose the order of a segment.

    The orders are compared in sequence, the ranker's first. An order replaces the best one so far if its objective over
    all lists is higher by more than the standard error of the difference, and at no cut-off lower by more than that:
    what holds only in the season of one cut-off, such as a festival, says little about the next weeks.

    Args:
        figures: For each evaluation cut-off and order the metrics of each user, float [users, 3]. Orders that a cut-off
            lacks are ignored.
    """
    names = [name for name in figures[0] if all(name in at_cutoff for at_cutoff in figures)]
    tried = {name: np.concatenate([at_cutoff[name] for at_cutoff in figures]) for name in names}
    chosen = RANKER
    for name in names:
        gains = [objective(at_cutoff[name] - at_cutoff[chosen]) for at_cutoff in figures]
        lower = any(exceeds_standard_error(-gain) for gain in gains if len(gain))
        if exceeds_standard_error(np.concatenate(gains)) and not lower:
            chosen = name
    return Decision(
        what="order",
        chosen=chosen,
        tried={name: float(objective(values).mean()) for name, values in tried.items()},
        rule=(
            f"the first, unless a later one has a higher {OBJECTIVE} over the held-out and the early lists, by more"
            " than one standard error, and is not lower by as much on either of them"
        ),
    )


def scores(candidates: Candidates, order: str) -> Floats:
    """Return scores of the candidates, float32, that sort them into a simpler order."""
    if order == MERGE:
        return candidates.merged.scores
    items = ordered(candidates, order)
    place = np.empty(len(items), np.float32)
    place[np.argsort(candidates.merged.items)] = np.argsort(items)
    return -place


def with_orders(spec: FeatureSpec, served: Mapping[Segment, str]) -> FeatureSpec:
    """Return the spec with the order of each segment."""
    channels = dict(spec.channels)
    for segment, order in served.items():
        if order in channels.get(segment, {}):
            channels[segment] = {
                name: channel if name == order else _negligible(channel) for name, channel in channels[segment].items()
            }
    rankers = {segment: order in (RANKER, POPULARITY) for segment, order in served.items()}
    return spec.model_copy(update={"channels": channels, "rankers": rankers})


def _negligible(channel: Channel) -> Channel:
    return channel.model_copy(update={"weight": channel.weight * NEGLIGIBLE_WEIGHT})
