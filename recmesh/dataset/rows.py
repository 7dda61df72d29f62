"""What all steps of reading a data set share: its rows, its rejected rows, and the progress."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from recmesh.dataset.forms.batch import Advance, Batch, Wanted
from recmesh.dataset.forms.files import folder_keys
from recmesh.dataset.forms.tables import parts
from recmesh.dataset.rejects import Limits, Rejects, Tally
from recmesh.dataset.report import Report
from recmesh.dataset.schema import Schema

Progress = Callable[[str, int, int], None]
"""A function that gets what is being read, the number of bytes read so far, and the total."""


@dataclass(frozen=True)
class FileRows:
    """The rows of a file that can be used, in the order of the file.

    Attributes:
        frame: Their columns.
        lines: The number of each row's first line (Int64); the row number in parquet and Excel.
    """

    frame: pl.DataFrame
    lines: pl.Series


@dataclass(frozen=True)
class RowSource:
    """One pass over the folder of a data set.

    Attributes:
        folder: The data set.
        schema: What its columns mean.
        rejects: Where rejected rows go.
        progress: Called after each block, if given.
        limits: The shares of the rows of one kind that may be lost.
        report: What became of the rows so far.
    """

    folder: Path
    schema: Schema
    rejects: Rejects
    progress: Progress | None
    limits: Limits
    report: Report = field(default_factory=Report)

    def tally(self, kind: str) -> Tally:
        """Add a tally to the report."""
        tally = Tally(kind)
        self.report.tallies.append(tally)
        return tally

    def advance(self, what: str, paths: list[Path]) -> Advance:
        """Return a function that reports bytes read from these files to `progress`."""
        total, done = sum(path.stat().st_size for path in paths), 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            if self.progress:
                self.progress(what, done, total)

        return advance

    def batches(
        self, tally: Tally, paths: list[Path], wanted: list[Wanted], dat_columns: tuple[str, ...] = ()
    ) -> Iterator[tuple[str, Batch]]:
        """Read all files of one kind, and reject text that is not a row.

        Args:
            tally: The counts of this kind of file.
            paths: The files, in order.
            wanted: The columns to read.
            dat_columns: The columns of a .dat file, in order.

        Yields:
            The name of a file, and a batch of its rows.

        Raises:
            DataError: A column is missing, or a file is damaged.
        """
        advance = self.advance(tally.kind, paths)
        for path in paths:
            name = path.relative_to(self.folder).as_posix()
            tally.files.append(name)
            keys = folder_keys(self.folder, path)
            for part in parts(path, wanted, dat_columns, self.schema, keys, advance):
                if isinstance(part, Batch):
                    yield name, part
                else:
                    self.rejects.broken(tally, name, part)

    def check(self, tally: Tally) -> None:
        """Check the shares of the rows that are not used.

        Raises:
            DataError: Too many rows of this kind are damaged, invalid or unlisted.
        """
        self.rejects.check(tally, self.limits)
