"""Rows that cannot be used: counted by reason, written to a file, and a limit on their share."""

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

ANONYMOUS = "nobody: the user is empty or -1"


@dataclass
class Tally:
    """What became of the rows of one kind of file (users, products, actions, product_vectors).

    `duplicates` were left out because the same user or product came again later, or the same action was there already.
    `nobody` counts actions of the users "" and "-1" apart; they are not among the rejected.
    """

    kind: str
    files: list[str] = field(default_factory=list)
    read: int = 0
    used: int = 0
    duplicates: int = 0
    nobody: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    @property
    def rejected(self) -> int:
        """How many rows could not be used."""
        return self.reasons.total()


class Rejects:
    """Writes rejected rows as CSV (file, line, reason, row), or only counts them where no file is wanted."""

    def __init__(self, path: Path | None = None, file: TextIO | None = None) -> None:
        self.path = path
        self._writer = csv.writer(file, lineterminator="\n") if file else None
        if self._writer:
            self._writer.writerow(("file", "line", "reason", "row"))

    @classmethod
    @contextmanager
    def open(cls, path: Path | None) -> Iterator["Rejects"]:
        """Rejects that go to `path`, replacing what is there."""
        if path is None:
            yield cls()
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as file:
            yield cls(path, file)

    def broken(self, tally: Tally, file: str, rows: Iterable[Broken]) -> None:
        """Count and write what was no row."""
        for row in rows:
            tally.read += 1
            self._add(tally, file, row.line, row.reason, row.text)

    def batch(self, tally: Tally, file: str, batch: Batch, reasons: pl.Series) -> pl.Series:
        """Count and write the rows of a batch that have a reason; returns the mask of the rows that have none."""
        tally.read += batch.frame.height
        good = reasons.is_null()
        for row in np.flatnonzero(~good.to_numpy()).tolist():
            self._add(tally, file, int(batch.lines[row]), reasons[row], batch.text(row))
        return good

    def _add(self, tally: Tally, file: str, line: int, reason: str, text: str) -> None:
        if reason == ANONYMOUS:
            tally.nobody += 1
        else:
            tally.reasons[reason] += 1
            tally.first.setdefault(reason, f"{file} line {line}")
        if self._writer is not None:
            self._writer.writerow((file, line, reason, text))

    def check(self, tally: Tally, max_rejected: float) -> None:
        """Raise DataError when too many rows of `tally`, or all, were rejected."""
        lost = tally.rejected + tally.nobody
        if not lost or (tally.rejected <= max_rejected * tally.read and lost < tally.read):
            return
        where = f"; all are in {self.path}" if self.path else ""
        allowed = "" if lost == tally.read else f" (more than the {max_rejected:.0%} that RECMESH_MAX_REJECTED allows)"
        if not tally.rejected:
            raise DataError(f"{tally.kind}: all {tally.read:,} rows are of {ANONYMOUS}{where}")
        (reason, count), *_ = tally.reasons.most_common(1)
        raise DataError(
            f"{tally.kind}: {tally.rejected:,} of {tally.read:,} rows cannot be used{allowed}, "
            f"{count:,} of them for: {reason}; first at {tally.first[reason]}{where}"
        )
