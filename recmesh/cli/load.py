"""`recmesh feed load`: the rows of a file, through feed."""

import csv
import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

import recmesh
from recmesh.cli.journal import Journal
from recmesh.cli.many import Failure, ask_all
from recmesh.client import Action, Item, Mesh, Recorded, User
from recmesh.contract import MAX_ENTRIES
from recmesh.dataset.rejects import Rejects, Tally, warnings_of
from recmesh.dataset.rows import FileRows
from recmesh.dataset.schema import Schema
from recmesh.dataset.single import RowKind, read_rows, schema_of
from recmesh.errors import DataError
from recmesh.progress import Meter, Reporter, reading

_DIGEST_CHARACTERS = 32


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """A load.

    Attributes:
        file: The file.
        kind: What its rows are.
        target: Where feed is.
        schema: The file that says what the columns mean, if it is not the one in the folder of `file`.
        rejects: The file for rows that are not used; by default `_<name>.rejects.csv` in the folder of `file`.
        concurrency: Requests in flight.
    """

    file: Path
    kind: RowKind
    target: str
    schema: Path | None = None
    rejects: Path | None = None
    concurrency: int = 4

    @property
    def rejects_file(self) -> Path:
        """The file for rows that are not used. Its name begins with `_`, so that it is no part of a data set."""
        return self.rejects or self.file.with_name(f"_{self.file.name}.rejects.csv")

    @property
    def journal(self) -> Path:
        """The file that lists the finished requests."""
        return self.file.with_name(f"_{self.file.name}.part")


@dataclass
class _Totals:
    """What feed did with the rows."""

    accepted: int = 0
    repeated: int = 0
    failures: Sequence[Failure[int]] = field(default_factory=list)


async def run_load(mesh: Mesh, options: LoadOptions, console: Console) -> int:
    """Send each row of a file to feed, and print the totals.

    Finished requests are kept in `options.journal` until all are finished: after an interruption, the same call sends
    only the rest. A row that was sent before the interruption and not answered is sent again, with the same event id.

    Args:
        mesh: The mesh.
        options: The load.
        console: Shows the progress and the totals.

    Returns:
        The exit code.

    Raises:
        DataError: The schema or the file is unusable, or too many of its rows cannot be used.
        SettingsError: Another load of the same file is running.
        Unavailable, DeadlineExceeded, Overloaded: feed has stopped answering.
    """
    reporter = Reporter(console)
    schema = schema_of(options.file, options.kind, options.schema)
    digest = _digest(options.file)
    with Journal(options.journal, _identity(options, schema, digest)) as journal:
        if journal.started_over:
            reporter.say(f"{options.journal} belongs to a load of other rows, or to another target: starting over")
        with Rejects.open(options.rejects_file) as rejects:
            with reading(reporter) as progress:
                rows, tally = read_rows(options.file, options.kind, schema, rejects, progress)
            load = _Load(mesh, options, schema, digest, rows)
            failures = await load.send(journal, reporter)
            totals = load.total(journal, rejects, tally, failures)
        if not failures:
            journal.remove()
    return _report(options, tally, totals, reporter)


class _Load:
    """The rows of a file, in parts of 1,000."""

    def __init__(self, mesh: Mesh, options: LoadOptions, schema: Schema, digest: str, rows: FileRows) -> None:
        self._mesh = mesh
        self._options = options
        self._schema = schema
        self._digest = digest[:_DIGEST_CHARACTERS]
        self._rows = rows
        self._starts = range(0, rows.frame.height, MAX_ENTRIES)

    async def send(self, journal: Journal, reporter: Reporter) -> list[Failure[int]]:
        """Send the parts that are not in the journal."""
        remaining = [start for start in self._starts if str(start) not in journal]

        async def ask(start: int) -> None:
            answer = await self._send(start)
            rejected = [(entry.position, entry.reason) for entry in answer.rejected]
            journal.add(str(start), answer.accepted, answer.repeated, rejected)

        total = self._rows.frame.height
        done = total - sum(map(self._size, remaining))
        meter = Meter(reporter, f"loading {self._options.kind}", total, done=done, outcome="sent")
        return await ask_all(remaining, ask, concurrency=self._options.concurrency, meter=meter, size=self._size)

    def total(self, journal: Journal, rejects: Rejects, tally: Tally, failures: Sequence[Failure[int]]) -> _Totals:
        """Add up the answers of this run and of earlier ones, and list what feed rejected."""
        totals = _Totals(failures=failures)
        for start, accepted, repeated, rejected in journal.read(map(str, self._starts)):
            totals.accepted += accepted
            totals.repeated += repeated
            for position, reason in rejected:
                row = int(start) + position
                text = _csv_row(self._rows.frame.row(row))
                rejects.refused(tally, self._options.file.name, int(self._rows.lines[row]), reason, text)
        return totals

    def _size(self, start: int) -> int:
        return min(MAX_ENTRIES, self._rows.frame.height - start)

    async def _send(self, start: int) -> Recorded:
        rows = self._rows.frame.slice(start, MAX_ENTRIES).iter_rows(named=True)
        if self._options.kind == "users":
            return await self._mesh.put_users([User(row.pop("user_id"), _given(row)) for row in rows])
        if self._options.kind == "items":
            return await self._mesh.put_items([Item(row.pop("sku_id"), _given(row)) for row in rows])
        lines = self._rows.lines.slice(start, MAX_ENTRIES)
        return await self._mesh.record([self._action(row, line) for row, line in zip(rows, lines, strict=True)])

    def _action(self, row: dict[str, Any], line: int) -> Action:
        columns = self._schema.action
        # Without a type column, feed takes the type with the greatest weight, unless the schema has another.
        typed = columns.type is not None or columns.weights
        return Action(
            user_id=row["user_id"],
            sku_id=row["sku_id"],
            time=row["time"] or None,
            type=row["type"] if typed else "",
            value=row["value"] if columns.value else None,
            event_id=row["event_id"] or f"{self._digest}:{line}",
        )


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _given(cells: dict[str, str | None]) -> dict[str, str]:
    """The cells that are not missing. Missing ones are not sent: they say nothing about what is stored."""
    return {name: value for name, value in cells.items() if value is not None}


def _csv_row(cells: Iterable[object]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow(cells)
    return out.getvalue()


def _identity(options: LoadOptions, schema: Schema, digest: str) -> dict[str, str]:
    # Another version may read the file otherwise, so that the same numbers would mean other rows.
    return {
        "file": digest,
        "kind": options.kind,
        "schema": schema.model_dump_json(),
        "target": options.target,
        "version": recmesh.__version__,
    }


def _report(options: LoadOptions, tally: Tally, totals: _Totals, reporter: Reporter) -> int:
    """Print the totals. Returns the exit code."""
    before = f", {totals.repeated:,} of them before" if totals.repeated else ""
    reporter.say(f"{options.file}: {totals.accepted:,} of {tally.read:,} rows are in feed's log{before}")
    if tally.duplicates:
        reporter.say(f"replaced by later rows with the same id: {tally.duplicates:,} rows")
    if tally.anonymous:
        reporter.say(f"actions of anonymous users, which are not recorded: {tally.anonymous:,}")
    reporter.warn(warnings_of(tally))
    if tally.rejected or tally.anonymous:
        reporter.say(f"rows that are not in the log: {options.rejects_file}")
    else:
        options.rejects_file.unlink()
    if totals.failures:
        error = totals.failures[0].error
        reporter.say(f"failed: {len(totals.failures)} requests; the same command sends them again; the first: {error}")
        return error.exit_code
    return DataError.exit_code if tally.rejected else 0
