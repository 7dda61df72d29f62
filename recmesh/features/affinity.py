"""What a history speaks for: votes over items summed along neighbour lists, without work for each item of the
catalogue."""

from recmesh import kernels
from recmesh.features.statistics import Lists
from recmesh.kernels import Owned, Scratch, Votes

SOURCES = 256
"""Newest distinct items of a history whose lists are followed: bounds the work for the longest histories."""


def votes(lists: Lists, owned: Owned, scratch: Scratch) -> Votes:
    """Sum the lists of a history's items."""
    sources = owned.items[:SOURCES]
    weights, recent_weights = owned.strength[:SOURCES], owned.weights[:SOURCES]
    return kernels.votes(
        lists.start, lists.items, lists.scores, sources, weights, recent_weights, lists.longest, scratch
    )
