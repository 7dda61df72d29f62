"""Read text files with columns: .csv, .tsv and .dat."""

import codecs
import csv
import io
import re
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from recmesh.dataset.forms.batch import Advance, Batch, Part, Wanted, missing_column
from recmesh.dataset.forms.csvtext import Broken, Record, RecordSplitter, Rows, Splitter, is_well_formed
from recmesh.dataset.forms.escapes import Escapes
from recmesh.dataset.forms.files import form_of, raw_blocks, utf8_blocks
from recmesh.dataset.schema import Schema
from recmesh.errors import DataError

HEAD_BYTES = 64 << 10
MAX_HEADER_BYTES = 1 << 20
SAMPLED_LINES = 100

_SEPARATORS = (",", ";", "\t", "|", "::")
_SEPARATOR_LINE = re.compile(rb'"?sep=(.+?)"?', re.IGNORECASE)


@dataclass(frozen=True)
class Layout:
    """How the text of a file is divided into rows and columns.

    Attributes:
        header: The names of the columns.
        separator: Between columns.
        quotes: Whether quotes enclose cells; otherwise they are ordinary characters.
        skipped: Number of lines before the first row.
        hint: What to add to the error about a missing column.
    """

    header: list[str]
    separator: str
    quotes: bool = True
    skipped: int = 0
    hint: str = ""


def text_parts(
    path: Path,
    wanted: Sequence[Wanted],
    dat_columns: Sequence[str],
    schema: Schema,
    keys: Mapping[str, str],
    advance: Advance,
) -> Iterator[Part]:
    """Read the wanted columns of a text file in batches.

    Raises:
        DataError: A wanted column is missing or ambiguous, or there is no usable header.
    """
    layout = _dat_layout(path, dat_columns, schema) if form_of(path) == ".dat" else _csv_layout(path, schema)
    for want in wanted:
        if want.column not in layout.header and want.column not in keys:
            hint = layout.hint or _later_header(path, schema.encoding, layout, want.column)
            raise missing_column(path, want, layout.header, hint)
        if layout.header.count(want.column) > 1:
            raise DataError(
                f'{path}: the header names column "{want.column}" ({want.key} of the schema) more than once'
            )
    columns = [name for name in dict.fromkeys(want.column for want in wanted) if name in layout.header]
    escapes = Escapes(layout.separator, schema.escape if layout.quotes else None)
    width, first_line = len(layout.header), layout.skipped + 1
    splitter: RecordSplitter | Splitter
    if _is_well_formed(path, layout, schema, escapes):
        splitter = RecordSplitter(width, escapes.separator, first_line)
    else:
        splitter = Splitter(width, escapes.separator, layout.quotes, first_line)
    text = escapes.encode(_rows(path, schema.encoding, layout.skipped, advance))
    positions = [layout.header.index(column) for column in columns]
    for rows in _fed(splitter, text):
        yield from _row_parts(path, rows, columns, positions, escapes)


def _is_well_formed(path: Path, layout: Layout, schema: Schema, escapes: Escapes) -> bool:
    if not layout.quotes:
        return False
    if not any(b'"' in block for block, _ in raw_blocks(path)):
        return True
    text = escapes.encode(_rows(path, schema.encoding, layout.skipped))
    return is_well_formed(text, len(layout.header), escapes.separator)


def text_lines(path: Path, encoding: str, advance: Advance) -> Iterator[Part]:
    """Read the lines of a file without columns, in batches with the single column `line`."""
    # No text contains this separator, so every line is one cell.
    escapes = Escapes("\0", None)
    for rows in _fed(Splitter(1, "\0", quotes=False), _rows(path, encoding, 0, advance)):
        yield from _row_parts(path, rows, ["line"], [0], escapes)


def header_of(path: Path, schema: Schema) -> list[str]:
    """Return the names of the columns of a .csv or .tsv file.

    Raises:
        DataError: There is no usable header.
    """
    return _csv_layout(path, schema).header


def _fed(splitter: Splitter | RecordSplitter, blocks: Iterable[bytes]) -> Iterator[Rows]:
    for block in blocks:
        yield splitter.feed(block)
    yield splitter.feed(b"", final=True)


def _rows(path: Path, encoding: str, skipped: int, advance: Advance | None = None) -> Iterator[bytes]:
    """Read the text of a file without its first lines."""
    before = 0
    for block, done in utf8_blocks(path, encoding):
        if advance:
            advance(done - before)
            before = done
        text = block
        while skipped and text:
            _, newline, text = text.partition(b"\n")
            skipped -= bool(newline)
        yield text


def _csv_layout(path: Path, schema: Schema) -> Layout:
    lines, skipped = _head(path, schema.encoding), 0
    separator = "\t" if form_of(path) == ".tsv" else schema.separator or ","
    declared = _SEPARATOR_LINE.fullmatch(lines[0])
    if declared:  # Excel reads and writes such a line
        separator, skipped = declared[1].decode(), 1
    record = b""
    for line in lines[skipped:]:
        record, skipped = record + line + b"\n", skipped + 1
        if record.count(b'"') % 2 == 0 or len(record) > MAX_HEADER_BYTES:
            break
    if not record.strip():
        raise DataError(
            f"{path}: line {skipped} is empty; a {form_of(path)} file needs a header with the names of its columns"
        )
    escapes = Escapes(separator, schema.escape)
    text = b"".join(escapes.encode([record.rstrip(b"\n")]))
    try:
        cells = next(csv.reader(io.StringIO(text.decode(), newline=""), delimiter=escapes.separator, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path}: the header in line {skipped} cannot be read ({error}); "
            "does schema.yaml declare the right encoding?"
        ) from error
    names = escapes.cells(pl.DataFrame({"name": cells}))["name"].fill_null("").to_list()
    other = max((each for each in _SEPARATORS if each != separator), key=record.decode().count)
    if len(names) <= record.decode().count(other):
        return Layout(names, separator, skipped=skipped, hint=f"; declare separator: {_yaml(other)} in schema.yaml")
    return Layout(names, separator, skipped=skipped)


def _dat_layout(path: Path, dat_columns: Sequence[str], schema: Schema) -> Layout:
    """Tell the form of the v0 contract, `1:2:3`, from other files without a header, such as `1::2::3`."""
    lines = [line.decode(errors="replace") for line in _head(path, schema.encoding)[:SAMPLED_LINES] if line]
    v0 = [line for line in lines if line.count(":") == len(dat_columns) - 1]
    double = [line for line in lines if "::" in line]
    separator = schema.separator or ("::" if 2 * len(v0) < len(lines) <= 2 * len(double) else ":")
    if separator == ":" and dat_columns:
        return Layout(list(dat_columns), ":", quotes=False)
    width = statistics.mode(line.count(separator) + 1 for line in lines) if lines else 1
    hint = f'; columns separated by "{separator}" without a header are called by their numbers, such as id: 1'
    return Layout([str(number) for number in range(1, width + 1)], separator, quotes=False, hint=hint)


def _head(path: Path, encoding: str) -> list[bytes]:
    """Return the first lines of a file, at least one; a line may be cut off."""
    text = b""
    for block, _ in utf8_blocks(path, encoding, HEAD_BYTES):
        text += block
        if len(text) > HEAD_BYTES:
            break
    return text.split(b"\n")


def _later_header(path: Path, encoding: str, layout: Layout, column: str) -> str:
    """Return a hint if a line further down names a column, as under the title of a table."""
    for number, line in enumerate(_head(path, encoding)[:SAMPLED_LINES], 1):
        cells = line.decode(errors="replace").split(layout.separator)
        if column in (cell.strip('"') for cell in cells):
            return f"; line {number} looks like the header: remove what is above it"
    return ""


def _yaml(text: str) -> str:
    return '"\\t"' if text == "\t" else f'"{text}"'


def _row_parts(path: Path, rows: Rows, columns: list[str], positions: list[int], escapes: Escapes) -> Iterator[Part]:
    if rows.broken:
        yield [Broken(row.line, row.reason, escapes.original(row.text)) for row in rows.broken]
    if len(rows.lines):
        frame = escapes.cells(_plain_frame(path, rows, columns, positions, escapes.separator))
        yield Batch(frame, rows.lines, lambda row: escapes.original(rows.text(row)))
    if rows.records:
        yield _record_batch(rows.records, columns, positions, escapes)


def _plain_frame(path: Path, rows: Rows, columns: list[str], positions: list[int], separator: str) -> pl.DataFrame:
    if not columns:  # all columns that are wanted come from the names of folders
        return pl.DataFrame(height=len(rows.lines))
    # Polars removes a BOM from what it reads. Here it is part of the first cell: that of the file is removed already.
    mark = codecs.BOM_UTF8 if rows.plain.startswith(codecs.BOM_UTF8) else b""
    frame = pl.read_csv(
        mark + rows.plain,
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


def _record_batch(records: list[Record], columns: list[str], positions: list[int], escapes: Escapes) -> Batch:
    data = {
        column: [record.cells[position] for record in records]
        for position, column in zip(positions, columns, strict=True)
    }
    frame = escapes.cells(pl.DataFrame(data, schema=dict.fromkeys(columns, pl.String)))
    return Batch(frame, np.array([record.line for record in records]), lambda row: escapes.original(records[row].text))
