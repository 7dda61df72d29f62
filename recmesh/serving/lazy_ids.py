"""Ids of catalogue items that stay numbers until somebody reads them.

recall finds items by their numbers in the catalogue, and rank scores them by these. Where both hold the same catalogue,
in one process, looking up a few hundred ids one way and back would cost as much as the merge.
"""

from collections.abc import Iterator, Sequence
from typing import overload

from recmesh.features import Catalogue
from recmesh.features.spec import Ints, Longs


class LazyIds(Sequence[str]):
    """The ids of catalogue items, by their numbers int32 [n]."""

    __slots__ = ("_catalogue", "_items")

    def __init__(self, catalogue: Catalogue, items: Ints) -> None:
        self._catalogue = catalogue
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[str]:
        return map(self._catalogue.sku_ids.__getitem__, self._items.tolist())

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> "LazyIds": ...
    def __getitem__(self, place: int | slice) -> "str | LazyIds":
        if isinstance(place, slice):
            return LazyIds(self._catalogue, self._items[place])
        return self._catalogue.sku_ids[int(self._items[place])]

    def at(self, places: Longs) -> list[str]:
        """The ids at some places, int64 [m]."""
        return list(LazyIds(self._catalogue, self._items[places]))

    def numbers_in(self, catalogue: Catalogue) -> Ints:
        """See `numbers`."""
        return self._items if catalogue is self._catalogue else catalogue.encode(self)


def numbers(ids: Sequence[str], catalogue: Catalogue) -> Ints:
    """Item numbers int32 of ids; -1 where the catalogue does not hold them."""
    return ids.numbers_in(catalogue) if isinstance(ids, LazyIds) else catalogue.encode(ids)


def ids_at(ids: Sequence[str], places: Longs) -> list[str]:
    """The ids at some places, int64 [m]."""
    return ids.at(places) if isinstance(ids, LazyIds) else [ids[place] for place in places.tolist()]
