"""Interim reader: plain csv files."""

from pathlib import Path
from typing import Any

import polars as pl

from recmesh.dataset.data import DataSet
from recmesh.dataset.schema import Schema


def read(folder: Path, rejects: Path | None = None, progress: Any = None) -> DataSet:
    folder = Path(folder)
    schema = Schema.load(folder)
    sides = []
    for stem, side, key in (("users", schema.user, "user_id"), ("products", schema.item, "sku_id")):
        raw = pl.read_csv(folder / f"{stem}.csv", infer_schema=False)
        fields = [pl.col(side.column_of(n)).alias(n) for n in side.fields]
        frame = raw.select(pl.col(side.id).alias(key), *fields).unique(key, keep="last").sort(key)
        sides.append(frame.with_columns(pl.col(n).replace({m: None for m in schema.missing}) for n in side.fields))
    users, items = sides
    a = schema.action
    raw = pl.read_csv(folder / "actions.csv", infer_schema=False)
    raw = (
        raw.select(
            user_id=pl.col(a.user).cast(pl.Enum(users["user_id"]), strict=False),
            sku_id=pl.col(a.item).cast(pl.Enum(items["sku_id"]), strict=False),
            time=pl.col(a.time).str.to_datetime("%Y-%m-%dT%H:%M:%S").dt.epoch("ms"),
            type=pl.col(a.type) if a.type else pl.lit(a.only_type),
            value=pl.col(a.value).cast(pl.Float32) if a.value else pl.lit(1, dtype=pl.Float32),
        )
        .drop_nulls()
        .unique()
    )
    raw = raw.with_columns(pl.col("type").cast(pl.Enum(raw["type"].unique().sort())))
    return DataSet(folder, schema, "0" * 64, users, items, raw.sort("time", "user_id", "sku_id", "type", "value"), None)
