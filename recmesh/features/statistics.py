"""Statistics of items and user field values, counted over the actions before a cut-off.

They are arrays only. `jobs/train/data/counts.py` and `jobs/train/data/statistics.py` build them.
"""

from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from recmesh.errors import ReleaseError
from recmesh.features.spec import DAY_MS, Array, Floats, Ints, Longs, Mask


@dataclass(frozen=True)
class Lists:
    """Neighbour lists: for each source item the items that it votes for, with scores.

    Attributes:
        start: int64 [items + 1]. The list of item i is start[i]:start[i + 1] of `items` and `scores`.
        items: int32 [entries].
        scores: float32 [entries].
    """

    start: Longs
    items: Ints
    scores: Floats

    def fit(self, items: int) -> bool:
        """Tell whether the lists are complete and refer only to items of a catalogue of this size."""
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
        """The number of entries of the longest list."""
        return int(np.diff(self.start).max(initial=0))


NEW_BUYERS = 5
NEW_DAYS = 30


def is_new(buyers: Array, first_seen: Longs, as_of: int) -> Mask:
    """Return which items are new: fewer than five users acted on them, the first of them in the last 30 days.

    An item without actions is new.

    Args:
        buyers: The number of users who acted on each item.
        first_seen: The time of the first action on each item; `as_of` if there is none.
        as_of: The cut-off in milliseconds UTC.
    """
    new: Mask = (buyers < NEW_BUYERS) & (as_of - first_seen <= NEW_DAYS * DAY_MS)
    return new


@dataclass(frozen=True)
class Statistics:
    """Statistics of the actions up to `as_of`. No later action influences them.

    Arrays with a row for each item have one row more, which item -1 reaches: the values of an item without actions. The
    values of all user fields are numbered consecutively; those of field k start at `lift_offset[k]`.

    Attributes:
        as_of: The cut-off in milliseconds UTC.
        popularity: float32 [items + 1, popularities], log of the smoothed share of actions by each measure.
        buyers: float32 [items + 1], the number of users who acted on the item.
        repeat_rate: float32 [items + 1], the smoothed share of them who acted on it again.
        first_seen: int64 [items + 1], time of the first action in milliseconds; `as_of` if there is none.
        lift_offset: int64 [user fields], the number of the first value of each user field.
        lift_start: int64 [values + 1]. The entries of value v are lift_start[v]:lift_start[v + 1] of the next two.
        lift_items: int32 [entries], the items that users with the value acted on, ascending.
        lift_counts: float32 [entries], the number of those users.
        value_share: float32 [values], the share of users with the value.
        top: int32 [popularities, T], the most popular items by each measure, best first, padded with -1.
        value_top: int32 [values, T], for each value the best items by popularity and lift, padded with -1.
        order: int32 [items], the catalogue by the first popularity, best first.
        code_share: For each item field float32 [codes], the log of each code's share of actions.
        code_lift: For each item field float32 [values, codes], the log of how much more often users with the value act
            on items with the code than other users do. It is empty, [0, 0], if the table would be too large.
        cosine: Neighbour lists by cosine similarity.
        ridge: Neighbour lists by ridge regression.
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

    @cached_property
    def new(self) -> Ints:
        """The items int32 that few users had the chance to act on, ascending; see `is_new`."""
        return np.flatnonzero(is_new(self.buyers[:-1], self.first_seen[:-1], self.as_of)).astype(np.int32)

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
        """Read what `save` wrote.

        Raises:
            ReleaseError: If the file is missing or damaged.
        """
        try:
            with np.load(path) as arrays:
                item_fields = sum(name.startswith("code_share_") for name in arrays.files)
                found: dict[str, Any] = {name: arrays[name] for name in _PLAIN}
                for name in _LISTS:
                    found[name] = Lists(*(arrays[f"{name}_{part}"] for part in ("start", "items", "scores")))
                for name in _BY_FIELD:
                    found[name] = [arrays[f"{name}_{number}"] for number in range(item_fields)]
                return cls(as_of=int(arrays["as_of"]), **found)
        except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
            raise ReleaseError(f"{path}: damaged statistics ({error}); train again") from error


_LISTS = tuple(field.name for field in fields(Statistics) if field.type is Lists)
_BY_FIELD = ("code_share", "code_lift")
_PLAIN = tuple(f.name for f in fields(Statistics) if f.name not in {*_LISTS, *_BY_FIELD, "as_of"})
