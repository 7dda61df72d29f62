"""The order of a data set's actions: by time, and actions with the same time by a hash of the row.

An order by id would make each user's "last" actions those on the highest ids, and a split that holds them out would
then be predictable from the ids. The hash depends on nothing but the row: not on the order of rows and files, the
machine, or the version of a library.
"""

import zlib
from typing import cast

import numpy as np
import numpy.typing as npt
import polars as pl

_BATCH_ROWS = 1_000_000

_Hashes = npt.NDArray[np.uint64]


def ordered(actions: pl.DataFrame) -> pl.DataFrame:
    """Sort the actions of a DataSet by time and hash; rows with the same hash keep their order."""
    if actions.is_empty():
        return actions
    return actions.with_columns(hash=row_hashes(actions)).sort("time", "hash", maintain_order=True).drop("hash")


def row_hashes(actions: pl.DataFrame) -> pl.Series:
    """Return a hash of each action, UInt32.

    It is made of the CRC-32 of the user id, of the item id and of the type (UTF-8), the time, and the bits of the
    value, mixed by the finalizer of SplitMix64 (Steele, Lea and Flood 2014).
    """
    texts = {name: _text_hashes(actions[name]) for name in ("user_id", "sku_id", "type")}
    found = []
    for part in actions.iter_slices(_BATCH_ROWS):
        user, item, kind = (table[part[name].to_physical().to_numpy()] for name, table in texts.items())
        value = (part["value"].to_numpy() + np.float32(0)).view(np.uint32).astype(np.uint64)  # -0.0 equals 0.0
        mixed = _mixed(user << np.uint64(32) | item)
        mixed = _mixed(mixed ^ part["time"].to_numpy().view(np.uint64))
        mixed = _mixed(mixed ^ (kind << np.uint64(32) | value))
        found.append(pl.Series((mixed >> np.uint64(32)).astype(np.uint32)))
    return pl.concat(found)


def _text_hashes(column: pl.Series) -> _Hashes:
    """Return the hash of each category of a column of type Enum."""
    categories = cast(pl.Enum, column.dtype).categories
    return np.fromiter((zlib.crc32(text.encode()) for text in categories), np.uint64, len(categories))


def _mixed(bits: _Hashes) -> _Hashes:
    bits = (bits + np.uint64(0x9E3779B97F4A7C15)).astype(np.uint64)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: _Hashes = bits ^ (bits >> np.uint64(31))
    return mixed
