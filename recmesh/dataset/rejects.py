"""Rows that are not used: count them by reason, write them to a file, and limit their share."""

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TextIO

import numpy as np
import polars as pl

from recmesh.dataset.forms.batch import Batch
from recmesh.dataset.forms.csvtext import Broken
from recmesh.errors import DataError

Fate = Literal["damaged", "invalid", "unlisted", "anonymous"]
"""What is wrong with a row: its text, one of its cells, or nothing but an id that the tables do not list or that means
nobody. Damaged and invalid rows are rejected."""

MAX_SHOWN_CHARACTERS = 60


@dataclass(frozen=True)
class Reason:
    """Why a row is not used.

    Attributes:
        text: The reason in the rejects file and in the report.
        fate: What is wrong with the row.
        column: The column of the batch that holds the cell to show, if there is one.
        fix: Returns, for that cell, what would help (a setting), or an empty text.
    """

    text: str
    fate: Fate = "invalid"
    column: str | None = None
    fix: Callable[[str], str] = lambda cell: ""


Rules = Sequence[tuple[Reason, pl.Expr]]
"""Reasons, each with an expression for the rows that have it. The first that holds counts."""


def broken_rule(rules: Rules) -> pl.Expr:
    """Return an expression for the position of the first rule that holds for a row, or null."""
    return pl.coalesce(*(pl.when(holds).then(pl.lit(k, pl.UInt8)) for k, (_, holds) in enumerate(rules)))


@dataclass
class Cause:
    """The rows of one kind of file that are not used for one reason.

    Attributes:
        fate: What is wrong with them.
        first: File and line of the first of them.
        row: Its text.
        cell: The cell that explains the reason; None if no single cell does.
        fix: What would help, or an empty text.
        rows: Number of rows.
    """

    fate: Fate
    first: str
    row: str
    cell: str | None = None
    fix: str = ""
    rows: int = 0

    def example(self) -> str:
        """Return the first cell, what would help, and the place, as the end of a sentence."""
        such_as = "" if self.cell is None else f', such as "{shortened(self.cell)}"'
        return f"{such_as}{'; ' if self.fix else ''}{self.fix} (first: {self.first})"


@dataclass
class Tally:
    """What became of the rows of one kind of file: read = used + duplicates + anonymous + unlisted + rejected.

    Attributes:
        kind: users, products, actions or product_vectors.
        files: The files that were read, relative to the folder.
        read: Number of rows in them.
        used: Number of rows in the data set.
        duplicates: Rows that a later row of the same user or product replaced, and repeated actions.
        causes: The rows that are not used, by reason.
    """

    kind: str
    files: list[str] = field(default_factory=list)
    read: int = 0
    used: int = 0
    duplicates: int = 0
    causes: dict[str, Cause] = field(default_factory=dict)

    def count(self, *fates: Fate) -> int:
        """Return the number of rows with one of these fates."""
        return sum(cause.rows for cause in self.causes.values() if cause.fate in fates)

    @property
    def anonymous(self) -> int:
        """Number of actions of the users "" and "-1"."""
        return self.count("anonymous")

    @property
    def unlisted(self) -> int:
        """Number of rows whose user or item is not in the tables."""
        return self.count("unlisted")

    @property
    def damaged(self) -> int:
        """Number of rows whose text is damaged: encoding, number of columns, quotes."""
        return self.count("damaged")

    @property
    def outcomes(self) -> dict[str, int]:
        """Number of rows by what became of them."""
        names = ("used", "duplicates", "anonymous", "unlisted", "rejected")
        return {name: getattr(self, name) for name in names}

    @property
    def rejected(self) -> int:
        """Number of damaged and invalid rows."""
        return self.count("damaged", "invalid")

    def main_cause(self, *fates: Fate) -> tuple[str, Cause]:
        """Return the most frequent reason among those with one of these fates."""
        found = [(text, cause) for text, cause in self.causes.items() if cause.fate in fates]
        return max(found, key=lambda pair: pair[1].rows)


@dataclass(frozen=True)
class Limits:
    """The shares of the rows of one kind that may be damaged, invalid and unlisted."""

    damaged: float
    invalid: float
    unlisted: float


class Rejects:
    """Counts the rows that are not used, and writes them as CSV (file, line, reason, row) if there is a file."""

    def __init__(self, path: Path | None = None, file: TextIO | None = None) -> None:
        self.path = path
        self._writer = csv.writer(file, lineterminator="\n") if file else None
        if self._writer:
            self._writer.writerow(("file", "line", "reason", "row"))

    @classmethod
    @contextmanager
    def open(cls, path: Path | None) -> Iterator["Rejects"]:
        """Write the rows to `path`, replacing that file; None only counts them."""
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
            cause = tally.causes.setdefault(row.reason, Cause("damaged", f"{file} line {row.line}", row.text))
            cause.rows += 1
            if self._writer:
                self._writer.writerow((file, row.line, row.reason, row.text))

    def batch(self, tally: Tally, file: str, batch: Batch, broken: pl.Series, rules: Rules) -> pl.Series:
        """Count the rows of a batch, and set those aside that break a rule.

        Args:
            tally: The counts of this kind of file.
            file: The name of the file.
            batch: The rows.
            broken: For each row, the position of the rule that it breaks, or null.
            rules: The rules.

        Returns:
            A mask of the other rows.
        """
        tally.read += batch.frame.height
        return self.set_aside(tally, file, batch, broken, rules)

    def set_aside(self, tally: Tally, file: str, batch: Batch, broken: pl.Series, rules: Rules) -> pl.Series:
        """Do the same with rows that are already counted."""
        good = broken.is_null()
        rows, positions = np.flatnonzero(~good.to_numpy()), broken.drop_nulls().to_numpy()
        for position in np.unique(positions).tolist():
            mine = rows[positions == position]
            reason = rules[position][0]
            if reason.text not in tally.causes:
                tally.causes[reason.text] = _cause(reason, file, batch, int(mine[0]))
            tally.causes[reason.text].rows += len(mine)
        if self._writer:
            texts = [reason.text for reason, _ in rules]
            for row, position in zip(rows.tolist(), positions.tolist(), strict=True):
                self._writer.writerow((file, int(batch.lines[row]), texts[position], batch.text(row)))
        return good

    def refused(self, tally: Tally, file: str, line: int, reason: str, row: str) -> None:
        """Set a row aside that was read, and that its receiver refused."""
        tally.causes.setdefault(reason, Cause("invalid", f"{file} line {line}", row)).rows += 1
        if self._writer:
            self._writer.writerow((file, line, reason, row))

    def check(self, tally: Tally, limits: Limits) -> None:
        """Check the shares of the rows that are not used.

        Raises:
            DataError: A share is above its limit, or no row is left.
        """
        where = f"; {self.path} lists all of them" if self.path else ""
        lost = tally.count("damaged", "invalid", "unlisted", "anonymous")
        if lost and lost == tally.read:
            if lost == tally.anonymous:
                text, _ = tally.main_cause("anonymous")
                raise DataError(f"{tally.kind}: all {tally.read:,} rows are {text}{where}")
            said = _said(tally, "cannot be used", "", "damaged", "invalid", "unlisted")
            raise DataError(f"{said}{where}")
        limited: tuple[tuple[Fate, float, str, str], ...] = (
            ("damaged", limits.damaged, "are damaged", "RECMESH_MAX_DAMAGED"),
            ("invalid", limits.invalid, "cannot be used", "RECMESH_MAX_REJECTED"),
            ("unlisted", limits.unlisted, "name unknown users or items", "RECMESH_MAX_UNLISTED"),
        )
        for fate, limit, what, setting in limited:
            if tally.count(fate) > limit * tally.read:
                allowed = f" (more than the {limit * 100:g}% that {setting} allows)"
                raise DataError(f"{_said(tally, what, allowed, fate)}{where}")


def warnings_of(tally: Tally) -> list[str]:
    """Return a sentence for each group of rows that are not used, unless they are only anonymous."""
    groups: tuple[tuple[Fate, str], ...] = (
        ("damaged", "are damaged and not used"),
        ("invalid", "cannot be used"),
        ("unlisted", "name unknown users or items and are not used"),
    )
    return [_said(tally, what, "", fate) for fate, what in groups if tally.count(fate)]


def shortened(text: str) -> str:
    """Return a text on one line, not too long, and with invisible characters as escapes."""
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return line if len(line) <= MAX_SHOWN_CHARACTERS else f"{line[:MAX_SHOWN_CHARACTERS]}..."


def _said(tally: Tally, what: str, allowed: str, *fates: Fate) -> str:
    text, cause = tally.main_cause(*fates)
    return (
        f"{tally.kind}: {tally.count(*fates):,} of {tally.read:,} rows {what}{allowed}; "
        f"the reason for {cause.rows:,} of them: {text}{cause.example()}"
    )


def _cause(reason: Reason, file: str, batch: Batch, row: int) -> Cause:
    cell = None if reason.column is None else batch.frame[reason.column][row]
    shown = None if cell is None else str(cell)
    fix = "" if shown is None else reason.fix(shown)
    return Cause(reason.fate, f"{file} line {batch.lines[row]}", batch.text(row), shown, fix)
