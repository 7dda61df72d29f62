"""Statistics: what the actions before one moment say about items. Arrays only; `jobs/train/statistics.py` builds
them."""

from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from recmesh.errors import ReleaseError
from recmesh.features.spec import Floats, Ints, Longs


@dataclass(frozen=True)
class Lists:
    """Neighbour lists by source item: entries start[i]:start[i + 1] of `items` and `scores` are what item i speaks
    for."""

    start: Longs
    items: Ints
    scores: Floats

    def fit(self, items: int) -> bool:
        """Whether the lists are whole and name only items of a catalogue of that size."""
        return (
            len(self.start) > items
            and self.start[0] == 0
            and bool((np.diff(self.start) >= 0).all())
            and self.start[-1] == len(self.items) == len(self.scores)
            and self.items.min(initial=0) >= 0
            and self.items.max(initial=-1) < items
        )

    @cached_property
    def longest(self) -> int:
        """Entries of the longest list."""
        return int(np.diff(self.start).max(initial=0))


@dataclass(frozen=True)
class Statistics:
    """Known at `as_of` (ms): nothing here has seen a later action.

    Arrays with a row an item have one row more, reached by item -1: the values of an item that was never acted on.

    popularity   float32 [items + 1, popularities]  log of the (decayed, smoothed) share of actions
    buyers       float32 [items + 1]                users who acted on the item
    repeat_rate  float32 [items + 1]                share of them who came back to it, smoothed
    first_seen   int64   [items + 1]                ms of its first action, `as_of` where none
    lift_start   int64   [values + 1]               where the entries of each user field value start; values of all user
                                                    fields are numbered through, `lift_offset` int64 [user fields]
                                                    says from where
    lift_items   int32   [entries]                  items that users with the value acted on, ascending
    lift_counts  float32 [entries]                  how many of them did
    value_share  float32 [values]                   share of users with the value
    top          int32   [popularities, T]          the most popular items of each popularity, best first, padded with
    -1
    value_top    int32   [values, T]                for each user field value the best items by popularity and lift,
    padded with -1
    order        int32   [items]                the whole catalogue by the first popularity, best first
    code_share   list of float32 [codes]            for each item field the log of each code's share of actions
    code_lift    list of float32 [values, codes]    for each item field the log of how much more users with a value act
                                                    on items with a code than others do; [0, 0] where that is too large
    cosine, ridge                                   neighbour lists
    """

    as_of: int
    popularity: Floats
    buyers: Floats
    repeat_rate: Floats
    first_seen: Longs
    lift_offset: Longs
    lift_start: Longs
    lift_items: Ints
    lift_counts: Floats
    value_share: Floats
    top: Ints
    value_top: Ints
    order: Ints
    code_share: list[Floats]
    code_lift: list[Floats]
    cosine: Lists
    ridge: Lists

    def save(self, path: Path) -> None:
        """Write all arrays into one .npz file."""
        arrays: dict[str, object] = {"as_of": np.int64(self.as_of)}
        for name in _PLAIN:
            arrays[name] = getattr(self, name)
        for name in _LISTS:
            lists: Lists = getattr(self, name)
            arrays |= {f"{name}_start": lists.start, f"{name}_items": lists.items, f"{name}_scores": lists.scores}
        for name in _BY_FIELD:
            arrays |= {f"{name}_{number}": array for number, array in enumerate(getattr(self, name))}
        np.savez(path, **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> "Statistics":
        """Raises ReleaseError when the file is missing or damaged."""
        try:
            with np.load(path) as arrays:
                item_fields = sum(name.startswith("code_share_") for name in arrays.files)
                found: dict[str, Any] = {name: arrays[name] for name in _PLAIN}
                for name in _LISTS:
                    found[name] = Lists(*(arrays[f"{name}_{part}"] for part in ("start", "items", "scores")))
                for name in _BY_FIELD:
                    found[name] = [arrays[f"{name}_{number}"] for number in range(item_fields)]
                loaded = cls(as_of=int(arrays["as_of"]), **found)
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise ReleaseError(f"{path}: damaged statistics ({error}); train again") from error
        # Compiled code follows these without looking.
        if not all(lists.fit(len(loaded.order)) for lists in (loaded.cosine, loaded.ridge)):
            raise ReleaseError(f"{path}: damaged statistics (neighbour lists that do not fit); train again")
        whole = [(len(loaded.value_share), len(share)) for share in loaded.code_share]
        if any(lift.shape not in (shape, (0, 0)) for lift, shape in zip(loaded.code_lift, whole, strict=True)):
            raise ReleaseError(f"{path}: damaged statistics (lifts that do not fit); train again")
        return loaded


_LISTS = tuple(field.name for field in fields(Statistics) if field.type is Lists)
_BY_FIELD = ("code_share", "code_lift")
_PLAIN = tuple(f.name for f in fields(Statistics) if f.name not in {*_LISTS, *_BY_FIELD, "as_of"})
