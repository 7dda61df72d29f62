"""What callers noticed of each fault: rows for a table and for JSON."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from benchmarks.faults.loads import Reply


@dataclass(frozen=True, slots=True)
class Row:
    """What the callers of one load noticed of one fault.

    Attributes:
        fault: What was wrong.
        where: The process, link or disk.
        load: `as` or `batch`.
        sent: Number of requests.
        failed: Number of requests that failed.
        wrong: Number of answers that claim to be complete but have other items.
        degraded: Number of degraded answers.
        parts: What they lacked.
        recovery: Seconds from the end of the fault, or from the kill, to the last disturbed answer.
        slowest: Seconds of the slowest answer.
        died: Processes that ended although the fault should not end them.
        note: What else happened.
    """

    fault: str
    where: str
    load: str
    sent: int
    failed: int
    wrong: int
    degraded: int
    parts: Sequence[str]
    recovery: float
    slowest: float
    died: Sequence[str] = ()
    note: str = ""

    def __str__(self) -> str:
        said = f"{self.fault} {self.where}: {self.load}: {self.sent} sent, {self.failed} failed, "
        said += f"{self.wrong} wrong, " if self.wrong else ""
        said += f"{self.degraded} degraded ({', '.join(self.parts)})" if self.parts else f"{self.degraded} degraded"
        return f"{said}, recovery {self.recovery:.1f} s, slowest {self.slowest:.2f} s{self.note and f'; {self.note}'}"


def row(
    place: tuple[str, str],
    load: str,
    replies: Sequence[Reply],
    after: Sequence[Reply],
    ended: float,
    died: Sequence[str],
    note: str,
) -> Row:
    """The row of a load.

    Args:
        place: The fault, and where.
        load: See `Row.load`.
        replies: What came of the requests of the load.
        after: What came of the requests after it, until all was well.
        ended: When the fault ended, in seconds of the monotonic clock.
        died: See `Row.died`.
        note: See `Row.note`.
    """
    disturbed = [reply.at for reply in (*replies, *after) if reply.is_disturbed]
    return Row(
        fault=place[0],
        where=place[1],
        load=load,
        sent=len(replies),
        failed=sum(bool(reply.error) for reply in replies),
        wrong=sum(reply.is_wrong for reply in replies),
        degraded=sum(bool(reply.degraded) for reply in replies),
        parts=sorted({part for reply in replies for part in reply.degraded}),
        recovery=max(0.0, max(disturbed, default=ended) - ended),
        slowest=max((reply.seconds for reply in replies), default=0.0),
        died=died,
        note="; ".join(filter(None, (f"died: {', '.join(died)}" if died else "", note))),
    )


def table(rows: Sequence[Row], title: str) -> Table:
    """A table for people."""
    shown = Table(title=title, title_justify="left")
    for column in ("fault", "where", "load"):
        shown.add_column(column)
    for column in ("sent", "failed", "wrong", "degraded"):
        shown.add_column(column, justify="right")
    shown.add_column("parts")
    for column in ("recovery s", "slowest s"):
        shown.add_column(column, justify="right")
    shown.add_column("note")
    for found in rows:
        counts = (found.sent, found.failed, found.wrong, found.degraded)
        seconds = (f"{found.recovery:.1f}", f"{found.slowest:.2f}")
        shown.add_row(
            found.fault, found.where, found.load, *map(str, counts), ", ".join(found.parts), *seconds, found.note
        )
    return shown


def save(path: Path, options: Mapping[str, object], rows: Sequence[Row]) -> None:
    """Write everything as JSON."""
    machine = {"cpus": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()}
    content = {"machine": machine, "options": options, "rows": [asdict(row) for row in rows]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
