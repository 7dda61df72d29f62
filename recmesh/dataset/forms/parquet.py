"""Read .parquet files. Columns of any type become text, numbers or times, or are an error that names them."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from recmesh.dataset.forms.batch import Advance, Part, Wanted, frame_batch, missing_column
from recmesh.errors import DataError

BATCH_ROWS = 500_000
UUID_BYTES = 16

_UUID_PARTS = ((0, 8), (8, 4), (12, 4), (16, 4), (20, 12))
"""Offset and length of the parts of a UUID in hexadecimal digits."""

_EXPECTED = {
    "action.time": "times are dates, datetimes, text, or numbers with action.unit",
    "action.value": "values are numbers",
}


def parquet_parts(path: Path, wanted: Sequence[Wanted], keys: Mapping[str, str], advance: Advance) -> Iterator[Part]:
    """Read the wanted columns of a .parquet file in batches.

    Raises:
        DataError: A wanted column is missing or has a type that cannot be used, or the file is damaged.
    """
    try:
        yield from _parts(path, wanted, keys, advance)
    except (pl.exceptions.PolarsError, OSError) as error:
        said = " ".join(str(error).split("\n\n")[0].split())
        raise DataError(f"{path}: cannot be read as parquet ({said})") from error


def _parts(path: Path, wanted: Sequence[Wanted], keys: Mapping[str, str], advance: Advance) -> Iterator[Part]:
    scan, size = pl.scan_parquet(path, glob=False), path.stat().st_size
    schema = scan.collect_schema()
    columns = {}
    for want in wanted:
        found = _column(schema, want.column)
        if found is not None:
            columns[want.column] = _usable(path, scan, want, *found)
        elif want.column not in keys:
            raise missing_column(path, want, schema.names())
    height = int(scan.select(pl.len()).collect().item())
    selected = scan.select(expression.alias(name) for name, expression in columns.items())
    for offset in range(0, height, BATCH_ROWS):
        rows = min(BATCH_ROWS, height - offset)
        frame = selected.slice(offset, BATCH_ROWS).collect() if columns else pl.DataFrame(height=rows)
        yield frame_batch(frame, frame.columns, offset + 1)
        advance(size * rows // height)


def _column(schema: pl.Schema, name: str) -> tuple[pl.Expr, pl.DataType] | None:
    """Return a column by its name, or the part of a struct by a dotted name such as event.user.id."""
    if name in schema:
        return pl.col(name), schema[name]
    for parent in (name[:k] for k, letter in enumerate(name) if letter == "."):
        expression, rest = pl.col(parent), name[len(parent) + 1 :]
        dtype: Any = schema.get(parent)
        while isinstance(dtype, pl.Struct) and rest:
            inner = {field.name: field.dtype for field in dtype.fields}
            step = max((step for step in inner if f"{rest}.".startswith(f"{step}.")), key=len, default="")
            if not step:
                break
            dtype, rest = inner[step], rest[len(step) + 1 :]
            expression = expression.struct.field(step)
        if dtype is not None and not rest:
            return expression, dtype
    return None


def _usable(path: Path, scan: pl.LazyFrame, want: Wanted, column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Return a column as text, numbers or times, or as a list of text.

    Raises:
        DataError: Its type cannot be used for this key of the schema.
    """
    key = want.key.rpartition(".")[2]
    if isinstance(dtype, (pl.List, pl.Array)):
        if want.key.startswith("action.") or key == "id" or dtype.inner.is_nested() or dtype.inner == pl.Binary:
            raise _unusable(path, want, dtype)
        return column.cast(pl.List(pl.String))
    if dtype.is_nested() or dtype == pl.Object:
        raise _unusable(path, want, dtype)
    if want.key == "action.time" and not (
        dtype in (pl.String, pl.Date, pl.Null) or isinstance(dtype, pl.Datetime) or dtype.is_numeric()
    ):
        raise _unusable(path, want, dtype)
    if want.key.startswith("action.value") and (dtype.is_temporal() or dtype in (pl.Boolean, pl.Binary)):
        raise _unusable(path, want, dtype)
    if dtype == pl.Binary:
        return _from_bytes(path, scan, want, column)
    if isinstance(dtype, pl.Duration):
        return column.dt.to_string("iso")
    return column if dtype.is_numeric() or dtype.is_temporal() else column.cast(pl.String)


def _from_bytes(path: Path, scan: pl.LazyFrame, want: Wanted, column: pl.Expr) -> pl.Expr:
    """Return a column of bytes as text: the text itself, or the usual form of UUIDs."""
    try:
        scan.select(column.cast(pl.String).str.len_bytes().sum()).collect()
    except pl.exceptions.ComputeError:
        if scan.select((column.bin.size() != UUID_BYTES).any()).collect().item():
            raise DataError(
                f'{path}: column "{want.column}" ({want.key} of the schema) has bytes that are neither UTF-8 nor UUIDs;'
                " write it as text"
            ) from None
        digits = column.bin.encode("hex")
        return pl.concat_str(*(digits.str.slice(*part) for part in _UUID_PARTS), separator="-")
    return column.cast(pl.String)


def _unusable(path: Path, want: Wanted, dtype: pl.DataType) -> DataError:
    return DataError(
        f'{path}: column "{want.column}" ({want.key} of the schema) has type {dtype}, which cannot be used here; '
        f"{_EXPECTED.get(want.key, 'supported are text, numbers, times and plain lists of fields')}"
    )
