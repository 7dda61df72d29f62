"""The data set in memory."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from recmesh.dataset.report import Report
from recmesh.dataset.schema import Schema


@dataclass(frozen=True)
class DataSet:
    """A data set that has been read and checked.

    Attributes:
        folder: Where it was read from.
        schema: What the columns of its files mean.
        fingerprint: sha256 (hex) of its content, independent of the order of rows and files.
        users: `user_id` (text, unique, sorted) and one text column for each declared field, null where missing.
        items: The same with `sku_id`.
        actions: Unique rows, sorted by time, and those of the same time by a hash of the row; at most 21 bytes each.
            `user_id` and `sku_id` are pl.Enum over exactly the ids of `users` and `items`, so
            `actions["user_id"].to_physical()` gives row numbers of `users`; cast to pl.String for text. `time` is
            Int64, milliseconds since 1970-01-01 UTC, 0 if the schema names no time. `type` is pl.Enum over the types
            that occur, sorted. `value` is Float32. Where the files have none it is 1, or the bound of `positive` if 1
            would not be positive.
        product_vectors: `sku_id` and `vector` (pl.Array of Float32), sorted by id; None without product_vectors.txt.
        report: What became of every row.
    """

    folder: Path
    schema: Schema
    fingerprint: str
    users: pl.DataFrame
    items: pl.DataFrame
    actions: pl.DataFrame
    product_vectors: pl.DataFrame | None
    report: Report
