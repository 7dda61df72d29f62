"""Item ids that are looked up only when they are read.

recall finds items by their positions in the catalogue, and rank scores them by these positions. If both run in one
process and hold the same catalogue, converting a few hundred positions to ids and back would cost as much as the merge
of the channels.
"""

from collections.abc import Iterator, Sequence
from typing import overload

from recmesh.features import Catalogue
from recmesh.features.spec import Ints, Longs


class LazyIds(Sequence[str]):
    """The ids of items, given by their catalogue positions."""

    __slots__ = ("_catalogue", "_positions")

    def __init__(self, catalogue: Catalogue, positions: Ints) -> None:
        """Refer to items of `catalogue`; positions: int32 [n]."""
        self._catalogue = catalogue
        self._positions = positions

    def __len__(self) -> int:
        """The number of ids."""
        return len(self._positions)

    def __iter__(self) -> Iterator[str]:
        """The ids in order."""
        return map(self._catalogue.sku_ids.__getitem__, self._positions.tolist())

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "LazyIds": ...
    def __getitem__(self, index: int | slice) -> "str | LazyIds":
        """The id at an index, or a lazy sequence of the ids in a slice."""
        if isinstance(index, slice):
            return LazyIds(self._catalogue, self._positions[index])
        return self._catalogue.sku_ids[int(self._positions[index])]

    def take(self, indices: Longs) -> list[str]:
        """The ids at `indices`, int64 [m]."""
        return list(LazyIds(self._catalogue, self._positions[indices]))

    def positions_in(self, catalogue: Catalogue) -> Ints:
        """See `catalogue_positions`."""
        return self._positions if catalogue is self._catalogue else catalogue.encode(self)


def catalogue_positions(ids: Sequence[str], catalogue: Catalogue) -> Ints:
    """The positions int32 [n] of ids in a catalogue; -1 for ids that it does not contain."""
    return ids.positions_in(catalogue) if isinstance(ids, LazyIds) else catalogue.encode(ids)


def take(ids: Sequence[str], indices: Longs) -> list[str]:
    """The ids at `indices`, int64 [m]."""
    return ids.take(indices) if isinstance(ids, LazyIds) else [ids[index] for index in indices.tolist()]
