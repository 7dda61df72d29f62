"""Votes of a history for items: scores summed along neighbour lists.

The cost depends on the lengths of the history and of the lists, not on the size of the catalogue.
"""

from recmesh import kernels
from recmesh.features.statistics import Lists
from recmesh.kernels import Owned, Scratch, Votes

MAX_SOURCES = 256
"""Only the newest distinct items of a history vote, at most this many. It bounds the cost of the longest histories."""


def neighbour_votes(lists: Lists, owned: Owned, scratch: Scratch) -> Votes:
    """Sum the neighbour lists of a history's items."""
    sources = owned.items[:MAX_SOURCES]
    weights, recent_weights = owned.strength[:MAX_SOURCES], owned.weights[:MAX_SOURCES]
    return kernels.votes(
        lists.start, lists.items, lists.scores, sources, weights, recent_weights, lists.longest, scratch
    )
