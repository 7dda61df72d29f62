"""Read the files of users, products and actions, in any form, as batches of columns."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from recmesh.dataset.forms.batch import Advance, Batch, Part, Wanted
from recmesh.dataset.forms.excel import excel_parts, sheet_of
from recmesh.dataset.forms.files import form_of, utf8_blocks
from recmesh.dataset.forms.jsonlines import json_parts
from recmesh.dataset.forms.parquet import parquet_parts
from recmesh.dataset.forms.textfiles import header_of, text_parts
from recmesh.dataset.schema import Schema
from recmesh.errors import DataError

NAME_BYTES, NAME_LINES = 1 << 20, 1_000
"""How much of a .jsonl file is searched for keys."""


def parts(
    path: Path,
    wanted: Sequence[Wanted],
    dat_columns: Sequence[str],
    schema: Schema,
    keys: Mapping[str, str],
    advance: Advance,
) -> Iterator[Part]:
    """Read the wanted columns of one file in batches.

    Args:
        path: The file.
        wanted: The columns to read.
        dat_columns: The columns of a .dat file in the form of the v0 contract, in order.
        schema: How text is written.
        keys: The columns that the names of the folders give (`month=2024-01`).
        advance: Called after each block.

    Yields:
        Batches of rows, and text that is not a row.

    Raises:
        DataError: A wanted column is missing, or the file is damaged.
    """
    form = form_of(path)
    if form == ".parquet":
        found = parquet_parts(path, wanted, keys, advance)
    elif form == ".xlsx":
        found = excel_parts(path, wanted, keys, advance)
    elif form == ".jsonl":
        found = json_parts(path, wanted, schema.encoding, keys, advance)
    else:
        found = text_parts(path, wanted, dat_columns, schema, keys, advance)
    columns = list(dict.fromkeys(want.column for want in wanted))
    for part in found:
        yield _with_keys(part, columns, keys) if isinstance(part, Batch) else part


def columns_of(path: Path, schema: Schema) -> list[str]:
    """Return the columns of a .csv, .tsv, .parquet or .xlsx file, or the keys of the first lines of a .jsonl file.

    Args:
        path: The file.
        schema: How text is written.

    Raises:
        DataError: The file is damaged, or has no header.
    """
    form = form_of(path)
    try:
        if form in (".csv", ".tsv"):
            return header_of(path, schema)
        if form == ".parquet":
            return pl.scan_parquet(path, glob=False).collect_schema().names()
        if form == ".xlsx":
            return sheet_of(path).columns
        text, _ = next(utf8_blocks(path, schema.encoding, NAME_BYTES), (b"", 0))
        lines = text[: text.rfind(b"\n")] if len(text) >= NAME_BYTES else text
        rows = [json.loads(line) for line in lines.split(b"\n")[:NAME_LINES] if line.strip()]
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from error
    return list(dict.fromkeys(name for row in rows for name in _dotted(row, "")))


def _dotted(row: Any, before: str) -> Iterator[str]:
    """Yield the names of the values in a row of JSON, with a dot for each object around them."""
    for name, value in row.items() if isinstance(row, dict) else ():
        if isinstance(value, dict):
            yield from _dotted(value, f"{before}{name}.")
        else:
            yield before + name


def _with_keys(batch: Batch, columns: list[str], keys: Mapping[str, str]) -> Batch:
    """Add the columns that come from the names of folders."""
    added = [pl.lit(keys[name]).alias(name) for name in columns if name not in batch.frame.columns]
    return Batch(batch.frame.with_columns(added).select(columns), batch.lines, batch.text) if added else batch
