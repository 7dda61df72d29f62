"""Checks a data set: reads it as training and ingestion do, and says what it can carry."""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from recmesh.dataset import DataSet, Progress, read
from recmesh.dataset.rejects import Tally
from recmesh.errors import DataError
from recmesh.profiling.findings import findings
from recmesh.profiling.model import Check, Finding, Rows, Unused, Verdict
from recmesh.profiling.profile import profile

MAX_EXAMPLE = 200
"""Characters of a row or a cell that are kept."""


def check(
    folder: Path,
    rejects: Path | None = None,
    progress: Progress | None = None,
    max_rejected: float | None = None,
    max_damaged: float | None = None,
    max_unlisted: float | None = None,
    now: int | None = None,
) -> Check:
    """Check a data set.

    Too many rows that are not used make it unusable. It is then read without these limits, so that the result tells
    about all of them.

    Args:
        folder: The data set.
        rejects: A CSV file for the rows that are not used.
        progress: Called after each block of a file.
        max_rejected: The share of the rows of one kind that may be invalid; the defaults are those of `read`.
        max_damaged: The share of the rows of one kind that may be damaged.
        max_unlisted: The share of the rows of one kind that may name unknown users or items.
        now: The present, ms since 1970; by default that of the clock.

    Raises:
        SettingsError: A limit in the environment is not a share.
    """
    now = round(time.time() * 1000) if now is None else now
    try:
        return _described(read(folder, rejects, progress, max_rejected, max_damaged, max_unlisted), (), now)
    except DataError as error:
        unusable = Finding(level="error", text=str(error))
    try:
        return _described(read(folder, rejects, progress, 1.0, 1.0, 1.0), (unusable,), now)
    except DataError:
        return _check(folder, (unusable,))


def _described(data: DataSet, more: tuple[Finding, ...], now: int) -> Check:
    facts, tallies = profile(data, now), data.report.tallies
    made = _check(data.folder, (*more, *findings(data, facts)))
    unused = tuple(cause for tally in tallies for cause in _unused(tally))
    return made.model_copy(
        update={"rows": tuple(_rows(tally) for tally in tallies), "unused": unused, "profile": facts}
    )


def _rows(tally: Tally) -> Rows:
    return Rows(
        kind=tally.kind,
        files=tuple(tally.files),
        read=tally.read,
        used=tally.used,
        duplicates=tally.duplicates,
        anonymous=tally.anonymous,
        unlisted=tally.unlisted,
        rejected=tally.rejected,
    )


def _unused(tally: Tally) -> Iterator[Unused]:
    for reason, cause in sorted(tally.causes.items(), key=lambda entry: -entry[1].rows):
        yield Unused(
            kind=tally.kind,
            fate=cause.fate,
            reason=reason,
            rows=cause.rows,
            first=cause.first,
            example=cause.row[:MAX_EXAMPLE],
            cell=cause.cell and cause.cell[:MAX_EXAMPLE],
            fix=cause.fix,
        )


def _check(folder: Path, found: Iterable[Finding]) -> Check:
    levels = ("error", "warning", "note")
    ordered = tuple(sorted(found, key=lambda finding: levels.index(finding.level)))
    verdicts: dict[str, Verdict] = {"error": "unusable", "warning": "warnings", "note": "fine"}
    verdict = verdicts[ordered[0].level] if ordered else "fine"
    return Check(folder=str(folder), verdict=verdict, findings=ordered, rows=(), unused=(), profile=None)
