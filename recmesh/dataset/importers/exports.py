"""Published tables: find them in a folder, check their columns, and stream them to Parquet."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from polars.io.plugins import register_io_source

from recmesh.dataset.forms.batch import Batch, Wanted
from recmesh.dataset.forms.textfiles import header_of, text_parts
from recmesh.dataset.schema import Action, Schema
from recmesh.errors import DataError
from recmesh.spelling import did_you_mean

_PLAIN = Schema(action=Action(user="user_id", item="sku_id", time="time"))
"""A schema that says nothing about how text is written."""

PolarsType = pl.DataType | type[pl.DataType]


def file_of(folder: Path, name: str) -> Path:
    """Return the path of a file.

    Raises:
        DataError: It is not there.
    """
    path = folder / name
    if path.is_file():
        return path
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    near = did_you_mean(name, (found.name for found in folder.iterdir()))
    raise DataError(f"{folder}: no {name}{near}")


def csv_table(folder: Path, name: str, columns: Sequence[str]) -> pl.LazyFrame:
    """Return some columns of a CSV file as text, null where empty. The file is streamed, row by row checked.

    Raises:
        DataError: The file or a column is missing; while reading, a row is broken.
    """
    path = file_of(folder, name)
    found = header_of(path, _PLAIN)
    for column in columns:
        if column not in found:
            raise DataError(f'{path}: no column "{column}"{did_you_mean(column, found)} It has: {", ".join(found)}')

    def batches() -> Iterator[pl.DataFrame]:
        wanted = [Wanted(column, name) for column in columns]
        for part in text_parts(path, wanted, (), _PLAIN, {}, lambda _: None):
            if not isinstance(part, Batch):
                raise DataError(f"{path}: line {part[0].line}: {part[0].reason}")
            yield part.frame.select(columns).with_columns(pl.when(pl.all() != "").then(pl.all()))

    return streamed(batches, dict.fromkeys(columns, pl.String))


def streamed(batches: Callable[[], Iterator[pl.DataFrame]], schema: Mapping[str, PolarsType]) -> pl.LazyFrame:
    """Return a table that is made batch by batch, each time that it is read."""

    def source(
        columns: list[str] | None, predicate: pl.Expr | None, rows: int | None, _: int | None
    ) -> Iterator[pl.DataFrame]:
        left = rows
        for batch in batches():
            frame = batch if left is None else batch.head(left)
            left = None if left is None else left - frame.height
            frame = frame if predicate is None else frame.filter(predicate)
            yield frame if columns is None else frame.select(columns)
            if left == 0:
                return

    return register_io_source(source, schema=schema)


def dat_table(folder: Path, name: str, columns: Sequence[str]) -> pl.LazyFrame:
    """Return the columns of a file without header whose cells are separated by `::`.

    Raises:
        DataError: The file is missing, or a line has another number of columns.
    """
    path = file_of(folder, name)
    # No text holds this separator, so that every line is one cell.
    lines = pl.scan_csv(
        path,
        separator="\0",
        has_header=False,
        quote_char=None,
        glob=False,
        schema={"line": pl.String},
        row_index_name="at",
    )
    width = pl.col("line").str.count_matches("::", literal=True) + 1
    wrong = lines.select("at", width=width).filter(pl.col("width") != len(columns)).head(1).collect()
    for at, found in wrong.iter_rows():
        raise DataError(
            f"{path}: line {at + 1} has {found} columns separated by ::, not {len(columns)}: {', '.join(columns)}"
        )
    cells = pl.col("line").str.split_exact("::", len(columns) - 1).struct.rename_fields(columns)
    return lines.select(cells.alias("cells")).unnest("cells")


def write(frame: pl.LazyFrame, path: Path) -> None:
    """Stream a table to a Parquet file."""
    frame.sink_parquet(path, engine="streaming")


def write_side(frame: pl.LazyFrame, key: str, path: Path) -> None:
    """Write users or items, one row each, in the order of their ids."""
    frame.filter(pl.col(key).is_not_null()).sort(key).collect(engine="streaming").write_parquet(path)


def one_line(error: Any) -> str:
    """Return the message of a Polars error without the hints that follow it."""
    return re.split(r"\n|\. (?=You|Consider|If|Please)", str(error).strip())[0]
