"""A data set in memory."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from recmesh.dataset.report import Report
from recmesh.dataset.schema import Schema


@dataclass(frozen=True)
class DataSet:
    """A data set that was read and checked.

    users, items: `user_id` / `sku_id` (text, unique, sorted) and one text column a declared field, null where missing.
    actions: sorted by time, user, item, type, value; no two rows are equal. `user_id` and `sku_id` are pl.Enum over
    exactly the ids of `users` and `items`, so `actions["user_id"].to_physical()` is the row of that user in `users`;
    cast to pl.String for text. `time` Int64 (milliseconds since 1970-01-01 UTC), `type` pl.Enum over the types that
    occur, sorted; `value` Float32, 1 where the files have none. At most 21 bytes an action.
    product_vectors: `sku_id`, `vector` (pl.Array of Float32), sorted; None without product_vectors.txt.
    """

    folder: Path
    schema: Schema
    fingerprint: str
    users: pl.DataFrame
    items: pl.DataFrame
    actions: pl.DataFrame
    product_vectors: pl.DataFrame | None
    report: Report
