"""Rows of a file as columns, whatever its form is."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from recmesh.dataset.forms.csvtext import Broken
from recmesh.errors import DataError
from recmesh.spelling import did_you_mean


@dataclass(frozen=True)
class Batch:
    """Some rows of a file.

    Attributes:
        frame: The wanted columns: text from text files, and the file's own types from parquet.
        lines: The number of each row's first line; the row number in parquet and Excel.
        text: Returns the original text of a row.
    """

    frame: pl.DataFrame
    lines: npt.NDArray[np.int64]
    text: Callable[[int], str]


@dataclass(frozen=True)
class Wanted:
    """A column that the file must have, and the key in the schema that names it."""

    column: str
    key: str


Part = Batch | list[Broken]
"""A batch of rows, or text that is not a row."""

Advance = Callable[[int], None]
"""A function that gets the number of bytes read since its last call."""


def missing_column(path: Path, want: Wanted, header: Sequence[str], hint: str = "") -> DataError:
    """Return the error for a column that a file does not have."""
    has = ", ".join(header[:12]) + (", ..." if len(header) > 12 else "")
    near = "" if hint else did_you_mean(want.column, header)
    return DataError(f'{path}: no column "{want.column}" ({want.key} of the schema){near} It has: {has}{hint}')


def frame_batch(frame: pl.DataFrame, columns: list[str], first: int) -> Batch:
    """Return a batch of the rows of a frame, whose first row has this number. The frame holds the columns, or more."""
    return Batch(frame.select(columns), np.arange(first, first + frame.height), partial(_row_text, frame))


def _row_text(frame: pl.DataFrame, row: int) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow(frame.row(row))
    return out.getvalue()
