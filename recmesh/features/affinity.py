"""What a history speaks for: scores over items summed along neighbour lists, without work for each item of the catalogue."""

import threading

import numpy as np

from recmesh.features.spec import Floats, Ints
from recmesh.features.statistics import Lists


class Scratch(threading.local):
    """Arrays with a place for each item; every thread has its own. All but `last` are zero between uses."""

    def __init__(self, size: int) -> None:
        self.sums = np.zeros(size, np.float32)
        self.marks = np.zeros(size, np.bool_)
        self.place = np.zeros(size, np.int32)
        self.last = np.zeros(size, np.int32)


def entries(lists: Lists, sources: Ints) -> tuple[Ints, Floats, Ints]:
    """The entries of all lists of `sources`: items, scores, and for each entry the position of its source."""
    start = lists.start[sources]
    lengths = (lists.start[sources + 1] - start).astype(np.int64)
    position = np.repeat(np.arange(len(sources), dtype=np.int32), lengths)
    offset = np.repeat(start - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths) if len(sources) else start
    index = offset + np.arange(len(position))
    return lists.items[index], lists.scores[index], position


def gather(scratch: Scratch, targets: Ints, scores: Floats, wanted: Ints) -> Floats:
    """The sums of `scores` by target, read at the items `wanted` (an item without entries: 0)."""
    np.add.at(scratch.sums, targets, scores)
    found = scratch.sums[wanted]
    scratch.sums[targets] = 0
    return found


def totals(scratch: Scratch, targets: Ints, scores: Floats) -> tuple[Ints, Floats]:
    """The distinct targets and the sum of `scores` of each."""
    scratch.last[targets] = np.arange(len(targets), dtype=np.int32)
    distinct = targets[scratch.last[targets] == np.arange(len(targets), dtype=np.int32)]
    return distinct, gather(scratch, targets, scores, distinct)


def members(scratch: Scratch, group: Ints, wanted: Ints) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    """Which of the items `wanted` are in `group`."""
    scratch.marks[group] = True
    found = scratch.marks[wanted]
    scratch.marks[group] = False
    return found
