"""Read the files of users, products and actions, in any form, as batches of columns."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import polars as pl

from recmesh.dataset.forms.batch import Advance, Batch, Part, Wanted
from recmesh.dataset.forms.excel import excel_parts
from recmesh.dataset.forms.files import form_of
from recmesh.dataset.forms.jsonlines import json_parts
from recmesh.dataset.forms.parquet import parquet_parts
from recmesh.dataset.forms.textfiles import text_parts
from recmesh.dataset.schema import Schema


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


def _with_keys(batch: Batch, columns: list[str], keys: Mapping[str, str]) -> Batch:
    """Add the columns that come from the names of folders."""
    added = [pl.lit(keys[name]).alias(name) for name in columns if name not in batch.frame.columns]
    return Batch(batch.frame.with_columns(added).select(columns), batch.lines, batch.text) if added else batch
