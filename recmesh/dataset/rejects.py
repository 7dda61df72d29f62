"""Rejected rows: count them by reason, write them to a file, and limit their share."""

import csv
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import numpy as np
import polars as pl

from recmesh.dataset.csvtext import Broken
from recmesh.dataset.tables import Batch
from recmesh.errors import DataError

ANONYMOUS = "anonymous: the user is empty or -1"
"""The reason of actions without a user. They cannot be used, but they are not errors either."""


@dataclass
class Tally:
    """What became of the rows of one kind of file.

    Attributes:
        kind: users, products, actions or product_vectors.
        files: The files that were read, relative to the folder.
        read: Number of rows in them.
        used: Number of rows in the data set.
        duplicates: Rows that a later row of the same user or product replaced, and repeated actions.
        anonymous: Actions of the users "" and "-1", which do not count as rejected.
        reasons: Number of rejected rows by reason.
        first: The file and line of the first row rejected for each reason.
    """

    kind: str
    files: list[str] = field(default_factory=list)
    read: int = 0
    used: int = 0
    duplicates: int = 0
    anonymous: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    @property
    def rejected(self) -> int:
        """Number of rejected rows."""
        return self.reasons.total()


class Rejects:
    """Counts rejected rows, and writes them as CSV (file, line, reason, row) if there is a file."""

    def __init__(self, path: Path | None = None, file: TextIO | None = None) -> None:
        self.path = path
        self._writer = csv.writer(file, lineterminator="\n") if file else None
        if self._writer:
            self._writer.writerow(("file", "line", "reason", "row"))

    @classmethod
    @contextmanager
    def open(cls, path: Path | None) -> Iterator["Rejects"]:
        """Write rejected rows to `path`, replacing that file; None only counts them."""
        if path is None:
            yield cls()
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as file:
            yield cls(path, file)

    def broken(self, tally: Tally, file: str, rows: Iterable[Broken]) -> None:
        """Reject text that is not a row."""
        for row in rows:
            tally.read += 1
            self._add(tally, file, row.line, row.reason, row.text)

    def batch(self, tally: Tally, file: str, batch: Batch, reasons: pl.Series) -> pl.Series:
        """Reject the rows of a batch that have a reason. Returns a mask of the other rows."""
        tally.read += batch.frame.height
        good = reasons.is_null()
        for row in np.flatnonzero(~good.to_numpy()).tolist():
            self._add(tally, file, int(batch.lines[row]), reasons[row], batch.text(row))
        return good

    def _add(self, tally: Tally, file: str, line: int, reason: str, text: str) -> None:
        if reason == ANONYMOUS:
            tally.anonymous += 1
        else:
            tally.reasons[reason] += 1
            tally.first.setdefault(reason, f"{file} line {line}")
        if self._writer is not None:
            self._writer.writerow((file, line, reason, text))

    def check(self, tally: Tally, max_rejected: float) -> None:
        """Check the share of rejected rows.

        Raises:
            DataError: More than `max_rejected` of the rows were rejected, or none is left.
        """
        lost = tally.rejected + tally.anonymous
        if not lost or (tally.rejected <= max_rejected * tally.read and lost < tally.read):
            return
        where = f"; {self.path} lists all of them" if self.path else ""
        allowed = "" if lost == tally.read else f" (more than the {max_rejected:.0%} that RECMESH_MAX_REJECTED allows)"
        if not tally.rejected:
            raise DataError(f"{tally.kind}: all {tally.read:,} rows are {ANONYMOUS}{where}")
        (reason, count), *_ = tally.reasons.most_common(1)
        raise DataError(
            f"{tally.kind}: {tally.rejected:,} of {tally.read:,} rows cannot be used{allowed}; "
            f"the reason for {count:,} of them: {reason} (first: {tally.first[reason]}){where}"
        )
