"""The ranker's inputs: the structures of kernels.c that hold a release, an request_user and the items to score."""

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
    """Fields whose names stand in `arrays` are addresses of arrays of that kind, which are kept alive."""

    arrays: ClassVar[dict[str, "np.dtype[Any]"]]

    def __init__(self, **values: Any) -> None:
        super().__init__()
        self._kept = values
        for name, value in values.items():
            kind = self.arrays.get(name)
            setattr(self, name, value if kind is None or value is None else address(value, kind))


def _addresses(arrays: Sequence[npt.NDArray[Any]], kind: "np.dtype[Any]") -> Any:
    return (_ADDRESS * max(len(arrays), 1))(*(address(one, kind) for one in arrays))


class Release(_Structure):
    """What is known of items at one moment; see `recmesh.features.Statistics` and `Catalogue` for the arrays.

    `columns`: dense inputs. `codes`, `shares` and `lifts`: addresses of one array for each item field. `code_counts`:
    int64, the codes of each item field, 0 where it has no lifts. `numeric`: int64, 1 for numeric item fields.
    `sparse_offsets`: int64, what to add to the codes of each sparse input.
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
        counts = np.array([len(share) if lift.size else 0 for share, lift in zip(shares, lifts, strict=True)], np.int64)
        super().__init__(code_counts=counts, **values)
        self._fields = (_addresses(codes, _INT), _addresses(shares, _FLOAT), _addresses(lifts, _FLOAT))
        self._alive = (codes, shares, lifts)
        self.codes, self.shares, self.lifts = (ctypes.addressof(one) for one in self._fields)


class _Votes(_Structure):
    arrays: ClassVar = {"items": _INT, "all": _FLOAT, "recent": _FLOAT}
    _fields_: ClassVar = [("count", _COUNT), *((name, _ADDRESS) for name in arrays)]

    @classmethod
    def of(cls, votes: Votes) -> "_Votes":
        return cls(count=len(votes.items), items=votes.items, all=votes.all, recent=votes.recent)


class _Asker(_Structure):
    arrays: ClassVar = {
        **dict.fromkeys(("codes", "items"), _INT),
        **dict.fromkeys(("days", "steps", "counts", "weights", "vector"), _FLOAT),
    }
    _fields_: ClassVar = [
        *((name, _COUNT) for name in ("now", "segment", "moments", "owned")),
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
    """For a value of a user field, the log of how much more users with it act on each item than others do."""
    lifts = np.empty(len(items), np.float32)
    _lift(ctypes.addressof(release), field, code, address(items, _INT), len(items), address(lifts, _FLOAT))
    return lifts


def ranker_rows(
    release: Release,
    *,
    codes: Ints,
    now: int,
    segment: int,
    moments: int,
    owned: Owned,
    votes: tuple[Votes, Votes],
    vector: Floats | None,
    items: Ints,
    unlisted_codes: Sequence[Ints],
    unlisted_numbers: Floats,
    sparse_columns: int,
    scratch: Scratch,
) -> tuple[Floats, Longs]:
    """`dense` float32 [N, columns] and `sparse` int64 [N, sparse columns] of catalogue items and then unlisted ones.

    codes: int32 [user fields]. votes: along the ridge and the cosine lists. vector: float32 [dim] of the user tower,
    if there is one. unlisted_codes: for each item field int32 [unlisted, width]; unlisted_numbers: float32 [unlisted,
    item fields].
    """
    request_user = _Asker(
        now=now,
        segment=segment,
        moments=moments,
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
        ctypes.addressof(request_user),
        ctypes.addressof(rows),
        scratch.slot,
        scratch.sums,
        address(dense, _FLOAT),
        address(sparse, _LONG),
    )
    return dense, sparse
