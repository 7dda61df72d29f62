"""The ranker's inputs: wrappers of the structures of kernels.c for a release, a user and the rows to fill."""

import ctypes
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from recmesh.kernels import Floats, Ints, Longs, Owned, Scratch, Votes, address, library_function

_COUNT, _REAL, _ADDRESS = ctypes.c_int64, ctypes.c_double, ctypes.c_void_p
_FLOAT, _INT, _LONG = np.dtype(np.float32), np.dtype(np.int32), np.dtype(np.int64)

_lift = library_function("lift", [_ADDRESS, _COUNT, ctypes.c_int32, _ADDRESS, _COUNT, _ADDRESS], None)
_ranker_rows = library_function("ranker_rows", [_ADDRESS] * 7, None)


class _Structure(ctypes.Structure):
    """A C structure. Fields named in `arrays` are addresses of arrays of that type, which it keeps alive."""

    arrays: ClassVar[dict[str, "np.dtype[Any]"]]

    def __init__(self, **values: Any) -> None:
        super().__init__()
        self._kept = values
        for name, value in values.items():
            kind = self.arrays.get(name)
            setattr(self, name, value if kind is None or value is None else address(value, kind))


def _addresses(arrays: Sequence[npt.NDArray[Any]], kind: "np.dtype[Any]") -> Any:
    return (_ADDRESS * max(len(arrays), 1))(*(address(array, kind) for array in arrays))


class Release(_Structure):
    """The arrays and settings of a release; `recmesh.features.Statistics` and `Catalogue` describe the arrays.

    `columns` is the number of dense inputs. `codes`, `shares` and `lifts` point to an array for each item field.
    `code_counts` int64 is the number of codes of each item field, or 0 for a field without lifts. `numeric` int64 is 1
    for numeric item fields. `sparse_offsets` int64 is added to the codes of each sparse input.
    """

    arrays: ClassVar = {
        **dict.fromkeys(("popularity", "repeat_rate", "buyers", "numbers", "vectors"), _FLOAT),
        **dict.fromkeys(("lift_counts", "value_share"), _FLOAT),
        **dict.fromkeys(("first_seen", "lift_offset", "lift_start", "widths", "numeric", "code_counts"), _LONG),
        "sparse_offsets": _LONG,
        "lift_items": _INT,
    }
    _fields_: ClassVar = [
        *((name, _COUNT) for name in ("items", "popularities", "user_fields", "item_fields", "dim")),
        *((name, _COUNT) for name in ("columns", "clock")),
        *((name, _ADDRESS) for name in ("popularity", "repeat_rate", "buyers", "numbers", "vectors")),
        *((name, _ADDRESS) for name in ("first_seen", "lift_offset", "lift_start", "lift_items")),
        *((name, _ADDRESS) for name in ("lift_counts", "value_share", "widths", "numeric", "code_counts")),
        *((name, _ADDRESS) for name in ("codes", "shares", "lifts")),
        ("sparse_offsets", _ADDRESS),
        *((name, _REAL) for name in ("neutral_logit", "lift_smoothing", "code_smoothing", "list_scale", "vote_power")),
    ]

    def __init__(self, codes: Sequence[Ints], shares: Sequence[Floats], lifts: Sequence[Floats], **values: Any) -> None:
        """Fill the structure.

        Args:
            codes: For each item field int32 [items + 1, width].
            shares: For each item field float32 [codes], each code's share of actions.
            lifts: For each item field float32 [values, codes], or empty.
            **values: All other fields of the structure, by name.
        """
        counts = np.array([len(share) if lift.size else 0 for share, lift in zip(shares, lifts, strict=True)], np.int64)
        super().__init__(code_counts=counts, **values)
        self._fields = (_addresses(codes, _INT), _addresses(shares, _FLOAT), _addresses(lifts, _FLOAT))
        self._alive = (codes, shares, lifts)
        self.codes, self.shares, self.lifts = (ctypes.addressof(field) for field in self._fields)


class _Votes(_Structure):
    arrays: ClassVar = {"items": _INT, "all": _FLOAT, "recent": _FLOAT}
    _fields_: ClassVar = [("count", _COUNT), *((name, _ADDRESS) for name in arrays)]

    @classmethod
    def of(cls, votes: Votes) -> "_Votes":
        return cls(count=len(votes.items), items=votes.items, all=votes.all, recent=votes.recent)


class _User(_Structure):
    arrays: ClassVar = {
        **dict.fromkeys(("codes", "items"), _INT),
        **dict.fromkeys(("days", "steps", "counts", "weights", "vector"), _FLOAT),
    }
    _fields_: ClassVar = [
        *((name, _COUNT) for name in ("now", "segment", "distinct_times", "owned")),
        *((name, _ADDRESS) for name in ("codes", "items", "days", "steps", "counts", "weights")),
        ("ridge", _Votes),
        ("cosine", _Votes),
        ("vector", _ADDRESS),
    ]


class _Rows(_Structure):
    arrays: ClassVar = {"items": _INT, "numbers": _FLOAT}
    _fields_: ClassVar = [
        *((name, _COUNT) for name in ("listed", "unlisted")),
        *((name, _ADDRESS) for name in ("items", "codes", "numbers")),
    ]


def lift(release: Release, field: int, code: int, items: Ints) -> Floats:
    """Return the log float32 [items] of how much more often users with a code act on each item than all users do.

    Args:
        release: The release.
        field: The index of the user field.
        code: The code of its value.
        items: int32, numbers of catalogue items.
    """
    lifts = np.empty(len(items), np.float32)
    _lift(ctypes.addressof(release), field, code, address(items, _INT), len(items), address(lifts, _FLOAT))
    return lifts


def ranker_rows(
    release: Release,
    *,
    codes: Ints,
    now: int,
    segment: int,
    distinct_times: int,
    owned: Owned,
    votes: tuple[Votes, Votes],
    vector: Floats | None,
    items: Ints,
    unlisted_codes: Sequence[Ints],
    unlisted_numbers: Floats,
    sparse_columns: int,
    scratch: Scratch,
) -> tuple[Floats, Longs]:
    """Compute the ranker's inputs for catalogue items, followed by unlisted items.

    Args:
        release: The release.
        codes: int32 [user fields].
        now: The time of the request in milliseconds.
        segment: The number of the request's segment.
        distinct_times: The number of distinct times in the history.
        owned: The distinct items of the history.
        votes: The votes of the history along the ridge and the cosine lists.
        vector: float32 [dim] of the user tower, or None.
        items: int32, numbers of catalogue items.
        unlisted_codes: For each item field int32 [unlisted, width].
        unlisted_numbers: float32 [unlisted, item fields].
        sparse_columns: The number of sparse inputs.
        scratch: Scratch memory.

    Returns:
        `dense` float32 [N, columns] and `sparse` int64 [N, sparse_columns].

    Raises:
        ValueError: If the user vector has another dimension than the item vectors.
    """
    if vector is not None and release.dim not in (0, len(vector)):
        raise ValueError(f"the user vector has {len(vector)} numbers, the item vectors {release.dim}")
    user = _User(
        now=now,
        segment=segment,
        distinct_times=distinct_times,
        owned=len(owned.items),
        codes=codes,
        items=owned.items,
        days=owned.days,
        steps=owned.steps,
        counts=owned.counts,
        weights=owned.weights,
        ridge=_Votes.of(votes[0]),
        cosine=_Votes.of(votes[1]),
        vector=vector,
    )
    fields = _addresses(unlisted_codes, _INT)
    rows = _Rows(
        listed=len(items),
        unlisted=len(unlisted_numbers),
        items=items,
        codes=ctypes.addressof(fields),
        numbers=unlisted_numbers,
    )
    count = len(items) + len(unlisted_numbers)
    dense, sparse = np.zeros((count, release.columns), np.float32), np.empty((count, sparse_columns), np.int64)
    _ranker_rows(
        ctypes.addressof(release),
        ctypes.addressof(user),
        ctypes.addressof(rows),
        scratch.slot,
        scratch.sums,
        address(dense, _FLOAT),
        address(sparse, _LONG),
    )
    return dense, sparse
