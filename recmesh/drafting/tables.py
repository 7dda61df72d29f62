"""Samples of the files of a data set."""

import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import polars as pl

from recmesh.dataset.cells import to_text
from recmesh.dataset.forms.batch import Batch, Wanted
from recmesh.dataset.forms.files import folder_keys, form_of, raw_blocks
from recmesh.dataset.forms.tables import columns_of, parts
from recmesh.dataset.schema import Action, Schema
from recmesh.drafting.text import Encoding, encoding_of, has_escaped_quotes, readable, separator_of
from recmesh.errors import DataError

SAMPLE_BYTES = 32 << 20
SAMPLE_ROWS = 400_000
NULLS = frozenset({"", "-1", "NA", "N/A", "n/a", r"\N", "null", "NULL", "None", "nan", "NaN", "?"})
"""Cells that may mean "unknown"."""

_ANY = Schema(action=Action(user="", item="", time=""))
"""A schema for files whose columns are not known yet."""


@dataclass(frozen=True)
class Table:
    r"""The beginning of a file.

    Attributes:
        path: The file.
        name: Of the file, or of the folder in the data set that contains it.
        frame: Its columns; text from text files, the file's own types from parquet.
        skipped: Sentences about columns that cannot be used.
        encoding: Of .csv and .tsv files.
        separator: Of .csv files that do not name it themselves.
        escaped: Whether quotes in quoted cells are written as \".
    """

    path: Path
    name: str
    frame: pl.DataFrame
    skipped: tuple[str, ...] = ()
    encoding: Encoding | None = None
    separator: str | None = None
    escaped: bool = False
    texts: dict[str, pl.Series] = field(default_factory=dict)

    def cells(self, column: str) -> pl.Series:
        """Return a column as text, without cells that may mean "unknown"."""
        if column not in self.texts:
            text = to_text(self.frame[column]).drop_nulls()
            self.texts[column] = text.filter(~text.is_in(list(NULLS)))
        return self.texts[column]

    def numbers(self, column: str) -> pl.Series:
        """Return the numbers in a column, -1 included."""
        numbers: pl.Series = to_text(self.frame[column]).cast(pl.Float64, strict=False).drop_nulls()
        return numbers

    def markers(self, column: str) -> set[str]:
        """Return the cells that seem to mean "unknown": -1 only if there is no other negative number."""
        found, numbers = set(to_text(self.frame[column]).unique()) & NULLS - {""}, self.numbers(column)
        return found - {"-1"} if numbers.filter(numbers < 0).n_unique() > 1 else found

    def times(self, column: str) -> pl.Series:
        """Return a column that may hold times: times of parquet as they are, everything else as `cells`."""
        return self.frame[column] if self.frame[column].dtype.is_temporal() else self.cells(column)

    def unique(self, column: str) -> float:
        """Return the number of distinct cells by that of all rows; 1 if there are none."""
        return self.cells(column).n_unique() / self.frame.height if self.frame.height else 1.0


def tables(folder: Path) -> Iterator[Table]:
    """Read the beginning of each table in a folder, and of one file of each folder of parts.

    Raises:
        DataError: The folder does not exist or needs no schema, or a file cannot be read.
        SettingsError: A file needs an extra that is not installed.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    if any(form_of(path) == ".dat" and not _has_double_colons(path) for path in folder.iterdir()):
        raise DataError(f"{folder}: .dat files in the form of the v0 contract need no schema.yaml; check it as it is")
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "_")):
            continue
        parts = sorted(part for part in path.rglob("*") if _is_table(part)) if path.is_dir() else [path]
        if parts and _is_table(parts[0]):
            yield _with_keys(_read(parts[0], path.name), folder_keys(folder, parts[0]))


def _is_table(path: Path) -> bool:
    return path.is_file() and form_of(path) != "" and path.name[0] not in "._"


def _has_double_colons(path: Path) -> bool:
    with path.open("rb") as file:
        return b"::" in file.readline()


def _with_keys(table: Table, keys: Mapping[str, str]) -> Table:
    """Add the columns that come from the names of folders."""
    frame = table.frame.with_columns(pl.lit(value).alias(name) for name, value in keys.items())
    return replace(table, frame=frame)


def _read(path: Path, name: str) -> Table:
    if form_of(path) in (".csv", ".tsv"):
        return _text_table(path, name)
    if form_of(path) == ".dat":
        return _dat_table(path, name)
    columns, skipped = [], []
    for column in columns_of(path, _ANY):
        try:
            columns.append(_column(path, column))
        except DataError as error:
            skipped.append(str(error).partition(": ")[2])
    return Table(path, name, pl.DataFrame(columns), tuple(skipped))


def _column(path: Path, column: str) -> pl.Series:
    """Read the beginning of a column as reading does."""
    found, height = [], 0
    for part in parts(path, [Wanted(column, f"item.fields.{column}")], (), _ANY, {}, lambda _: None):
        if isinstance(part, Batch):
            found.append(part.frame[column])
            height += part.frame.height
        if height >= SAMPLE_ROWS:
            break
    return pl.concat(found) if found else pl.Series(column, [], pl.String)


def _beginning(path: Path) -> tuple[str, Encoding]:
    """Return the first lines of a file."""
    data = b"".join(block for block, _ in islice(raw_blocks(path, SAMPLE_BYTES), 1))
    encoding = encoding_of(data)
    text = readable(data, encoding).replace("\r\n", "\n")
    return text[: text.rfind("\n") + 1] if len(data) >= SAMPLE_BYTES else text, encoding


def _dat_table(path: Path, name: str) -> Table:
    """Read a file without a header whose columns are separated by `::`; they are called by their numbers."""
    text, encoding = _beginning(path)
    rows = [line.split("::") for line in text.splitlines()[:SAMPLE_ROWS] if line]
    names = [str(number) for number in range(1, len(rows[0]) + 1)]
    return Table(
        path, name, pl.DataFrame([row for row in rows if len(row) == len(names)], names, orient="row"), (), encoding
    )


def _text_table(path: Path, name: str) -> Table:
    text, encoding = _beginning(path)
    named = re.match(r'"?sep=(.+?)"?\n', text)  # Excel
    text = text[named.end() :] if named else text
    header = text.partition("\n")[0]
    if not header.strip():
        raise DataError(f"{path}: line 1 is empty; a file needs a header with the names of its columns")
    separator = named[1] if named else "\t" if form_of(path) == ".tsv" else separator_of(header)
    escaped = has_escaped_quotes(text)
    try:
        frame, skipped = _columns(text.replace(r"\"", '""') if escaped else text, separator)
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from error
    declared = None if named or form_of(path) == ".tsv" else separator
    return Table(path, name, frame, skipped, encoding, declared, escaped)


def _columns(text: str, separator: str) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Return the columns that have a name of their own, and sentences about the others."""
    frame = pl.read_csv(
        io.BytesIO(text.encode()),
        has_header=False,
        separator=separator,
        infer_schema=False,
        truncate_ragged_lines=True,
        n_rows=SAMPLE_ROWS + 1,
    )
    names = [name or "" for name in frame.row(0)]
    kept = {column: name for column, name in zip(frame.columns, names, strict=True) if name and names.count(name) == 1}
    others = dict.fromkeys(name for name in names if name not in kept.values())
    skipped = (f'column "{name}" occurs twice' if name else "a column without a name" for name in others)
    rows = frame.slice(1).filter(~pl.all_horizontal(pl.all().is_null()))
    return rows.select(pl.col(column).alias(name) for column, name in kept.items()), tuple(skipped)
