"""Samples of the files of a data set."""

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from recmesh.dataset.cells import to_text
from recmesh.drafting.text import Encoding, encoding_of, has_escaped_quotes, readable, separator_of
from recmesh.errors import DataError

SAMPLE_BYTES = 32 << 20
SAMPLE_ROWS = 400_000
NULLS = frozenset({"", "-1", "NA", "N/A", "n/a", r"\N", "null", "NULL", "None", "nan", "NaN", "?"})
"""Cells that may mean "unknown"."""


@dataclass(frozen=True)
class Table:
    r"""The beginning of a file.

    Attributes:
        path: The file.
        name: Of the file, or of the folder in the data set that contains it.
        frame: Its columns; text from text files, the file's own types from parquet.
        skipped: Columns that cannot be named: without a name, or with the name of another.
        encoding: Of the text; None in parquet.
        separator: Between the cells; None in parquet.
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
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    if any((folder / name).exists() for name in ("users.dat", "products.dat")):
        raise DataError(
            f"{folder}: users.dat and products.dat have the form of the v0 contract and need no schema.yaml"
        )
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "_")):
            continue
        parts = sorted(part for part in path.rglob("*") if _is_table(part)) if path.is_dir() else [path]
        if parts and _is_table(parts[0]):
            yield read(parts[0], path.name)


def read(path: Path, name: str) -> Table:
    """Read the beginning of a file.

    Args:
        path: The file.
        name: Of the file, or of the folder in the data set that contains it.

    Raises:
        DataError: The file is empty or damaged.
    """
    try:
        if path.suffix == ".parquet":
            return Table(path, name, pl.scan_parquet(path, glob=False).head(SAMPLE_ROWS).collect())
        return _text_table(path, name)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from error


def _is_table(path: Path) -> bool:
    return path.is_file() and path.suffix in (".csv", ".tsv", ".parquet", ".dat") and path.name[0] not in "._"


def _text_table(path: Path, name: str) -> Table:
    with path.open("rb") as file:
        data = file.read(SAMPLE_BYTES)
    encoding = encoding_of(data)
    text = readable(data, encoding).replace("\r\n", "\n")
    if len(data) == SAMPLE_BYTES:
        text = text[: text.rfind("\n") + 1]
    if text.startswith("sep="):  # Excel
        text = text.partition("\n")[2]
    header = text.partition("\n")[0]
    if not header.strip():
        raise DataError(f"{path}: line 1 is empty; a file needs a header with the names of its columns")
    separator, escaped = separator_of(header), has_escaped_quotes(text)
    frame, skipped = _columns(text.replace(r"\"", '""') if escaped else text, separator)
    return Table(path, name, frame, skipped, encoding, separator, escaped)


def _columns(text: str, separator: str) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Return the columns that have a name of their own, and the other names."""
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
    skipped = tuple(dict.fromkeys(name for name in names if name not in kept.values()))
    return frame.slice(1).select(pl.col(column).alias(name) for column, name in kept.items()), skipped
