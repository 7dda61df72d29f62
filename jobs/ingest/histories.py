"""Histories of users, in the form that Redis stores."""

from typing import cast

import numpy as np
import polars as pl

from recmesh.dataset import DataSet
from recmesh.stores.wire import encode_history


class Histories:
    """Histories of the users of a data set.

    Needs about 4 bytes for each action, in addition to the data set.

    Attributes:
        user_ids: Users with at least one action, in the order of the data set. Histories are addressed by position.
    """

    def __init__(self, data: DataSet) -> None:
        users = data.actions["user_id"].to_physical().to_numpy()
        times = data.actions["time"].to_numpy()
        counts = np.bincount(users, minlength=len(data.users))
        active = np.flatnonzero(counts)
        self.user_ids: list[str] = data.users["user_id"].gather(active).cast(pl.String).to_list()
        # By user, then newest first; simultaneous actions stay in the order of the data set.
        self._order = np.lexsort((-times, users)).astype(np.uint32)
        self._bounds = np.concatenate([[0], np.cumsum(counts[active])])
        self._items = data.actions["sku_id"].to_physical().to_numpy()
        self._times, self._values = times, data.actions["value"].to_numpy()
        self._types = data.actions["type"].to_physical().to_numpy()
        self._sku_ids: list[str] = data.items["sku_id"].cast(pl.String).to_list()
        self._type_names: list[str] = cast(pl.Enum, data.actions["type"].dtype).categories.to_list()

    def __len__(self) -> int:
        return len(self.user_ids)

    def columns(self, position: int) -> tuple[list[str], list[int], list[str], list[float]]:
        """Columns of one user's actions, newest first: sku_ids, times (ms UTC), types and values."""
        rows = self._order[self._bounds[position] : self._bounds[position + 1]]
        return (
            [self._sku_ids[item] for item in self._items[rows].tolist()],
            self._times[rows].tolist(),
            [self._type_names[kind] for kind in self._types[rows].tolist()],
            self._values[rows].tolist(),
        )

    def encode(self, positions: range) -> list[bytes]:
        """Serialized History messages of a range of users."""
        return [encode_history(*self.columns(position)) for position in positions]
