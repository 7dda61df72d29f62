"""The inner loops of retrieval and features, compiled from kernels.c. docs/adr/007 gives the reasons.

All functions take and return numpy arrays. An array of another type or layout than the function documents raises
TypeError. Two errors of a caller are not detected: item numbers outside the catalogue, and duplicates where items must
be distinct. tests/unit/kernels/reference.py has a numpy version of every kernel.
"""

import ctypes
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from recmesh.kernels.build import library

Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

_INT32, _INT64, _INT8 = np.dtype(np.int32), np.dtype(np.int64), np.dtype(np.int8)
_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
_KEYS = np.dtype(np.uint64)
_NOTHING = np.empty(0, np.int32)

_ANY_SIZE: Any = ctypes.c_char * 0
_POINTER, _NUMBER, _REAL = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double


def _load() -> ctypes.CDLL:
    path = library()
    if not path.exists():
        raise ImportError(
            "recmesh.kernels is not compiled: run pip install 'recmesh[build]', "
            f"then python {Path(__file__).with_name('build.py')}"
        )
    return ctypes.CDLL(str(path))


_LIBRARY = _load()


def library_function(name: str, arguments: Sequence[Any], result: Any = _NUMBER) -> Any:
    """Return a function of kernels.c. It runs without the global interpreter lock."""
    function = getattr(_LIBRARY, name)
    function.argtypes, function.restype = arguments, result
    return function


_best = library_function(
    "best",
    [_POINTER, _POINTER, _NUMBER, ctypes.c_float, _POINTER, _NUMBER, _POINTER, _NUMBER, *[_POINTER] * 3],
)
_fuse = library_function("fuse", [*[_POINTER] * 3, _NUMBER, _REAL, *[_POINTER] * 3])
_owned = library_function("owned", [*[_POINTER] * 3, _NUMBER, _REAL, _NUMBER, *[_POINTER] * 8])
_votes = library_function("votes", [*[_POINTER] * 4, _NUMBER, *[_POINTER] * 6])


def address(array: npt.NDArray[Any], kind: "np.dtype[Any]") -> int:
    """Return the address of the data of a writable C-contiguous array. The caller keeps the array alive.

    Raises:
        TypeError: If the array has another type or layout, or is read-only.
    """
    if array.dtype != kind:
        raise TypeError(f"expected an array of {kind}, not of {array.dtype}")
    # Several times faster than array.ctypes, and it rejects arrays that are not contiguous.
    start: int = ctypes.addressof(_ANY_SIZE.from_buffer(array))
    return start


class Scratch(threading.local):
    """Memory that the kernels reuse. Every thread has its own. It is all zero between calls."""

    def __init__(self, items: int, codes: int = 0) -> None:
        """Allocate the memory of this thread.

        Args:
            items: The largest item number + 1.
            codes: The number of codes of the item field with the most.
        """
        self.items = items
        self.slot = address(self._zeros(items, np.int32), _INT32)
        self.tally = address(self._zeros(4 * items, np.float32), _FLOAT32)
        self.sums = address(self._zeros(3 * codes, np.float32), _FLOAT32)

    def _zeros(self, size: int, kind: Any) -> npt.NDArray[Any]:
        kept = np.zeros(max(size, 1), kind)
        self.__dict__.setdefault("_kept", []).append(kept)
        return kept


def best(
    items: Ints, scores: Floats, depth: int, scratch: Scratch, exclude: Ints = _NOTHING, above: float = -np.inf
) -> tuple[Ints, Floats]:
    """Select the best items.

    Args:
        items: int32, distinct.
        scores: float32, one for each item.
        depth: How many items to return at most.
        scratch: Scratch memory.
        exclude: int32, distinct items to leave out.
        above: Only items with a higher score than this are returned.

    Returns:
        The items and their scores in descending order. Equal scores are ordered by item number, so results are
        reproducible.
    """
    size = min(depth, len(items))
    heap, best_items, best_scores = np.empty(size, np.uint64), np.empty(size, np.int32), np.empty(size, np.float32)
    count = _best(
        address(items, _INT32),
        address(scores, _FLOAT32),
        len(items),
        above,
        address(exclude, _INT32),
        len(exclude),
        scratch.slot,
        size,
        address(heap, _KEYS),
        address(best_items, _INT32),
        address(best_scores, _FLOAT32),
    )
    return best_items[:count], best_scores[:count]


def fuse(lists: Sequence[Ints], weights: Sequence[float], constant: int, scratch: Scratch) -> tuple[Ints, Floats]:
    """Fuse lists by weighted reciprocal ranks (Cormack, Clarke and Buettcher 2009).

    Args:
        lists: Items int32 of each list, best first.
        weights: The weight of each list.
        constant: Added to the position, which counts from 1.
        scratch: Scratch memory.

    Returns:
        The distinct items of all lists in the order of their first appearance, and for each the sum float32 of
        weight / (constant + position).
    """
    items = np.concatenate(lists)
    lengths, shares = np.array([len(ranked) for ranked in lists], np.int64), np.array(weights, np.float64)
    fused, sums = np.empty(len(items), np.int32), np.empty(len(items), np.float64)
    count = _fuse(
        address(items, _INT32),
        address(lengths, _INT64),
        address(shares, _FLOAT64),
        len(lists),
        constant,
        scratch.slot,
        address(fused, _INT32),
        address(sums, _FLOAT64),
    )
    return fused[:count], sums[:count].astype(np.float32)


class Owned(NamedTuple):
    """The distinct catalogue items of a history, newest first.

    Attributes:
        items: int32.
        days: float32, the age in days of the newest action on each item.
        steps: float32, how many of the user's distinct action times came after it.
        counts: float32, the number of distinct times with an action on the item.
        weights: float32, recency ** steps * strength.
        strength: float32, the largest weight of the actions on the item.
    """

    items: Ints
    days: Floats
    steps: Floats
    counts: Floats
    weights: Floats
    strength: Floats


def owned(
    items: Ints,
    times: Longs,
    action_weights: Floats,
    recency: float,
    now: int,
    scratch: Scratch,
) -> Owned:
    """Collect the distinct items of a history, whose actions come newest first.

    Args:
        items: int32; -1 for an item outside the catalogue, which is left out.
        times: int64, milliseconds.
        action_weights: float32, the weight of each action. Actions without weight make no item of the history.
        recency: The factor by which the weight of an item falls with each later action time.
        now: The time in milliseconds from which ages are counted.
        scratch: Scratch memory.
    """
    size = len(items)
    own_items, last_times = np.empty(size, np.int32), np.empty(size, np.int64)
    columns = np.empty((5, size), np.float32)
    start, row = address(columns, _FLOAT32), columns.strides[0]
    count = _owned(
        address(items, _INT32),
        address(times, _INT64),
        address(action_weights, _FLOAT32),
        size,
        recency,
        now,
        scratch.slot,
        address(own_items, _INT32),
        *range(start, start + 5 * row, row) if size else [start] * 5,
        address(last_times, _INT64),
    )
    return Owned(own_items[:count], *columns[:, :count])


class Votes(NamedTuple):
    """The votes of a history for items.

    Attributes:
        items: int32, distinct.
        all: float32, the sum over the history, weighted by the types of actions.
        recent: float32, the same sum, weighted by recency as well.
    """

    items: Ints
    all: Floats
    recent: Floats


def votes(
    start: Longs,
    targets: Ints,
    scores: Floats,
    sources: Ints,
    weights: Floats,
    recent_weights: Floats,
    longest: int,
    scratch: Scratch,
) -> Votes:
    """Sum the neighbour lists of source items.

    Args:
        start: int64. The list of item i is start[i]:start[i + 1] of `targets` and `scores`.
        targets: int32, the neighbours.
        scores: float32, their scores.
        sources: int32, the items whose lists are summed.
        weights: float32, the weight of each source in `Votes.all`.
        recent_weights: float32, the weight of each source in `Votes.recent`.
        longest: The length of the longest list.
        scratch: Scratch memory.
    """
    # The extra place is for the kernel, which writes every entry after the last item and keeps it if it is new.
    size = min(len(sources) * longest, scratch.items) + 1
    items, sums = np.empty(size, np.int32), np.empty((2, size), np.float32)
    first = address(sums, _FLOAT32)
    count = _votes(
        address(start, _INT64),
        address(targets, _INT32),
        address(scores, _FLOAT32),
        address(sources, _INT32),
        len(sources),
        address(weights, _FLOAT32),
        address(recent_weights, _FLOAT32),
        scratch.tally,
        address(items, _INT32),
        first,
        first + 4 * size,
    )
    return Votes(items[:count], *sums[:, :count])
