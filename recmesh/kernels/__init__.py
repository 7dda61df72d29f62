"""The inner loops of retrieval and features, compiled: see kernels.c, and docs/adr/007 for why.

Everything here takes and gives numpy arrays. Arrays of other types or layouts than a function names raise TypeError;
item numbers outside the catalogue, or several equal ones where distinct ones are asked for, are the caller's fault and
are not looked for.
"""

import ctypes
import threading
from collections.abc import Sequence
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
            "recmesh.kernels is not compiled: run pip install 'recmesh[build]' and python -m recmesh.kernels.build"
        )
    return ctypes.CDLL(str(path))


_LIBRARY = _load()


def library_function(name: str, arguments: Sequence[Any], result: Any = _NUMBER) -> Any:
    """A function of kernels.c. It runs without Python's lock."""
    function = getattr(_LIBRARY, name)
    function.argtypes, function.restype = arguments, result
    return function


_best = library_function(
    "best",
    [_POINTER, _POINTER, _NUMBER, ctypes.c_float, _POINTER, _NUMBER, _POINTER, _NUMBER, *[_POINTER] * 3],
)
_fuse = library_function("fuse", [*[_POINTER] * 3, _NUMBER, _REAL, *[_POINTER] * 3])
_owned = library_function("owned", [*[_POINTER] * 3, _NUMBER, _POINTER, _NUMBER, _REAL, _NUMBER, *[_POINTER] * 8])
_votes = library_function("votes", [*[_POINTER] * 4, _NUMBER, *[_POINTER] * 6])


def address(array: npt.NDArray[Any], kind: "np.dtype[Any]") -> int:
    """Where the data of a writable C-contiguous array of one kind begin. The caller keeps the array alive."""
    if array.dtype != kind:
        raise TypeError(f"an array of {kind} is needed, not of {array.dtype}")
    # Several times faster than array.ctypes, and refuses arrays with gaps.
    start: int = ctypes.addressof(_ANY_SIZE.from_buffer(array))
    return start


class Scratch(threading.local):
    """Memory that the kernels use again; every thread has its own. All zero between calls.

    Args:
        items: of the catalogue, with the one that stands for all others.
        codes: of the item field that has most.
    """

    def __init__(self, items: int, codes: int = 0) -> None:
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
    """The `depth` best of distinct items and their scores, which fall; equal scores in the order of item numbers, so
    that answers repeat. Without the distinct items `exclude`, and those whose scores are not `above`."""
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
    """Weighted reciprocal-rank fusion: the distinct items of all lists in the order in which they are met, and for
    each the sum of weight / (constant + position), positions counted from 1."""
    items = np.concatenate(lists)
    lengths, shares = np.array([len(one) for one in lists], np.int64), np.array(weights, np.float64)
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
    """The distinct items of a history that the catalogue holds, the newest first.

    items int32; days float32: age of the newest action on each in days; steps float32: how many of the user's moments
    came after it; counts float32: the number of moments with it; weights float32: by recency in the user's own order
    and by kind of action; strength float32: the largest weight among its actions' kinds, in (0, 1].
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
    types: "npt.NDArray[np.int8]",
    type_weights: Floats,
    recency: float,
    now: int,
    scratch: Scratch,
) -> Owned:
    """What a history holds. Its actions come newest first: items int32 (-1: unknown), times int64 (ms), types int8
    (-1: the last of `type_weights`). recency: weight of an item for each moment that came after it."""
    size = len(items)
    own_items, moments = np.empty(size, np.int32), np.empty(size, np.int64)
    columns = np.empty((5, size), np.float32)
    start, row = address(columns, _FLOAT32), columns.strides[0]
    count = _owned(
        address(items, _INT32),
        address(times, _INT64),
        address(types, _INT8),
        size,
        address(type_weights, _FLOAT32),
        len(type_weights) - 1,
        recency,
        now,
        scratch.slot,
        address(own_items, _INT32),
        *range(start, start + 5 * row, row) if size else [start] * 5,
        address(moments, _INT64),
    )
    return Owned(own_items[:count], *columns[:, :count])


class Votes(NamedTuple):
    """Distinct items int32 with what a history says for each: float32 `all` of it, and weighted by `recent`."""

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
    """Sum neighbour lists: those of source item i are start[i]:start[i + 1] of `targets` and `scores`, and none is
    longer than `longest`."""
    # One place more: every entry is put down at the end of the items, and stays there if it is new.
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
