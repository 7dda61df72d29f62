"""What a history speaks for: votes over items summed along neighbour lists, without work for each item of the
catalogue."""

import threading
from dataclasses import dataclass

import numpy as np

from recmesh.features.spec import Floats, Ints, Mask
from recmesh.features.statistics import Lists
from recmesh.features.user import NO_ITEMS, Owned

SOURCES = 256
"""Newest distinct items of a history whose lists are followed: bounds the work for the longest histories."""


class Scratch(threading.local):
    """Arrays with a place for each item; every thread has its own. All but `last` are zero between uses."""

    def __init__(self, size: int) -> None:
        self.sums = np.zeros(size, np.float32)
        self.marks = np.zeros(size, np.bool_)
        self.place = np.zeros(size, np.int32)
        self.last = np.zeros(size, np.int32)


@dataclass(frozen=True)
class Votes:
    """Distinct items int32 with what the history says for each: `all` of it, and weighted by `recent`."""

    items: Ints
    all: Floats
    recent: Floats


def votes(lists: Lists, owned: Owned, scratch: Scratch) -> Votes:
    """Sum the lists of a history's items."""
    sources = owned.items[:SOURCES]
    if not len(sources):
        none = np.empty(0, np.float32)
        return Votes(NO_ITEMS, none, none)
    begins, ends = lists.start[sources].tolist(), lists.start[sources + 1].tolist()
    # Joining slices is several times faster than one gather of all entries.
    spans = [slice(begin, end) for begin, end in zip(begins, ends, strict=True)]
    targets = np.concatenate([lists.items[span] for span in spans])
    scores = np.concatenate([lists.scores[span] for span in spans])
    lengths = lists.start[sources + 1] - lists.start[sources]
    order = np.arange(len(targets), dtype=np.int32)
    scratch.last[targets] = order
    distinct = targets[scratch.last[targets] == order]
    sums = [
        _sum(scratch, targets, scores * np.repeat(w[:SOURCES], lengths), distinct)
        for w in (owned.strength, owned.weights)
    ]
    return Votes(distinct, sums[0], sums[1])


def read(scratch: Scratch, items: Ints, values: Floats, wanted: Ints) -> Floats:
    """The values of distinct `items` at `wanted`; 0 where an item is not among them."""
    scratch.sums[items] = values
    found = scratch.sums[wanted]
    scratch.sums[items] = 0
    return found


def members(scratch: Scratch, group: Ints, wanted: Ints) -> Mask:
    """Which of the items `wanted` are in `group`."""
    scratch.marks[group] = True
    found = scratch.marks[wanted]
    scratch.marks[group] = False
    return found


def _sum(scratch: Scratch, targets: Ints, scores: Floats, distinct: Ints) -> Floats:
    np.add.at(scratch.sums, targets, scores)
    found = scratch.sums[distinct]
    scratch.sums[distinct] = 0
    return found
