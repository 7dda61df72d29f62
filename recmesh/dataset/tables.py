"""Read the files of users, products and actions, in any form, as batches of columns."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from recmesh.dataset.csvtext import Broken, Record, Rows, Splitter
from recmesh.dataset.files import utf8_blocks
from recmesh.dataset.schema import did_you_mean
from recmesh.errors import DataError

PARQUET_BATCH_ROWS = 500_000


@dataclass(frozen=True)
class Batch:
    """Some rows of a file.

    Attributes:
        frame: The wanted columns: text from text files, and the file's own types from parquet.
        lines: The number of each row's first line; the row number in parquet.
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


def header_of(path: Path, encoding: str) -> list[str]:
    """Return the column names of a .csv or .parquet file.

    Raises:
        DataError: There is no usable header.
    """
    if path.suffix == ".parquet":
        return list(_scan(path).collect_schema().names())
    text = b""
    for block, _ in utf8_blocks(path, encoding, 64 << 10):
        text += block
        if b"\n" in block:
            break
    return _csv_header(path, text.partition(b"\n")[0])


def _csv_header(path: Path, line: bytes) -> list[str]:
    if not line.strip():
        raise DataError(f"{path}: line 1 is empty; a .csv file needs a header with the names of its columns")
    try:
        names = next(csv.reader(io.StringIO(line.decode(), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path}: the header in line 1 cannot be read ({error}); does schema.yaml declare the right encoding?"
        ) from error
    for other in ("\t", ";", "|"):
        if len(names) == 1 and other in names[0]:
            raise DataError(f"{path}: the columns are separated by {other!r}; use commas")
    repeated = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if repeated:
        raise DataError(f'{path}: the header names column "{repeated[0]}" more than once')
    return names


def parts(
    path: Path, wanted: Sequence[Wanted], dat_columns: Sequence[str], encoding: str, advance: Advance
) -> Iterator[Part]:
    """Read the wanted columns of one file in batches.

    Args:
        path: A .csv, .parquet or .dat file.
        wanted: The columns to read.
        dat_columns: The columns of a .dat file, in order.
        encoding: Of text files.
        advance: Called after each block.

    Returns:
        An iterator over batches of rows, and text that is not a row.

    Raises:
        DataError: A wanted column is missing, or the file is damaged.
    """
    header = list(dat_columns) if path.suffix == ".dat" else header_of(path, encoding)
    for want in wanted:
        if want.column not in header:
            near = did_you_mean(want.column, header)
            has = ", ".join(header[:12]) + (", ..." if len(header) > 12 else "")
            raise DataError(f'{path}: no column "{want.column}" ({want.key} of the schema){near} It has: {has}')
    columns = list(dict.fromkeys(want.column for want in wanted))
    if path.suffix == ".parquet":
        return _parquet_parts(path, columns, advance)
    separator = ":" if path.suffix == ".dat" else ","
    return _text_parts(path, header, columns, separator, encoding, advance)


def text_lines(path: Path, encoding: str, advance: Advance) -> Iterator[Part]:
    """Read the lines of a file without columns, in batches with the single column `line`."""
    # No text contains this separator, so every line is one cell.
    yield from _split(path, Splitter(1, "\0", quotes=False), ["line"], [0], encoding, advance, skip_header=False)


def _text_parts(
    path: Path, header: list[str], columns: list[str], separator: str, encoding: str, advance: Advance
) -> Iterator[Part]:
    has_header = path.suffix != ".dat"
    splitter = Splitter(len(header), separator, quotes=has_header, first_line=2 if has_header else 1)
    positions = [header.index(column) for column in columns]
    yield from _split(path, splitter, columns, positions, encoding, advance, skip_header=has_header)


def _split(
    path: Path,
    splitter: Splitter,
    columns: list[str],
    positions: list[int],
    encoding: str,
    advance: Advance,
    skip_header: bool,
) -> Iterator[Part]:
    before, held = 0, b""
    for block, done in utf8_blocks(path, encoding):
        advance(done - before)
        before = done
        text = block
        if skip_header:
            held, end, text = (held + block).partition(b"\n")
            skip_header = not end
        yield from _row_parts(path, splitter.feed(text), columns, positions, splitter.separator)
    yield from _row_parts(path, splitter.feed(b"", final=True), columns, positions, splitter.separator)


def _row_parts(path: Path, rows: Rows, columns: list[str], positions: list[int], separator: str) -> Iterator[Part]:
    if rows.broken:
        yield rows.broken
    if len(rows.lines):
        yield Batch(_plain_frame(path, rows, columns, positions, separator), rows.lines, rows.text)
    if rows.records:
        yield _record_batch(rows.records, columns, positions)


def _plain_frame(path: Path, rows: Rows, columns: list[str], positions: list[int], separator: str) -> pl.DataFrame:
    frame = pl.read_csv(
        rows.plain,
        has_header=False,
        separator=separator,
        quote_char='"' if rows.quoted else None,
        columns=sorted(positions),
        infer_schema=False,
        empty_string_is_null=False,
    )
    if frame.height != len(rows.lines):
        span = f"lines {rows.lines[0]} to {rows.lines[-1]}"
        raise DataError(
            f"{path}: {span} have {frame.height} rows instead of {len(rows.lines)}; is the file well-formed CSV?"
        )
    names = {frame.columns[k]: columns[positions.index(position)] for k, position in enumerate(sorted(positions))}
    return frame.rename(names)


def _record_batch(records: list[Record], columns: list[str], positions: list[int]) -> Batch:
    data = {
        column: [record.cells[position] for record in records]
        for position, column in zip(positions, columns, strict=True)
    }
    frame = pl.DataFrame(data, schema=dict.fromkeys(columns, pl.String))
    return Batch(frame, np.array([record.line for record in records]), lambda row: records[row].text)


def _scan(path: Path) -> pl.LazyFrame:
    try:
        scan = pl.scan_parquet(path, glob=False)
        scan.collect_schema()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path}: cannot be read as parquet ({str(error).splitlines()[0]})") from error
    return scan


def _parquet_parts(path: Path, columns: list[str], advance: Advance) -> Iterator[Part]:
    scan, size = _scan(path), path.stat().st_size
    for name, dtype in scan.select(columns).collect_schema().items():
        if dtype.is_nested() and not (isinstance(dtype, pl.List) and not dtype.inner.is_nested()):
            raise DataError(
                f'{path}: column "{name}" has type {dtype}; supported are text, numbers, times and plain lists'
            )
    height = int(scan.select(pl.len()).collect().item())
    for offset in range(0, height, PARQUET_BATCH_ROWS):
        frame = scan.slice(offset, PARQUET_BATCH_ROWS).collect()
        lines = np.arange(offset + 1, offset + 1 + frame.height)
        yield Batch(frame.select(columns), lines, partial(_row_text, frame))
        advance(size * frame.height // height)


def _row_text(frame: pl.DataFrame, row: int) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow(frame.row(row))
    return out.getvalue()
