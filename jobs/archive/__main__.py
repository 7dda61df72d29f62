"""`python -m jobs.archive --archive URL`: write the log of feed to the archive, and trim it."""

import sys
import time
from itertools import islice
from typing import Annotated

import polars as pl
import typer
from rich.console import Console

from jobs.archive.entries import row_of
from jobs.command import run
from jobs.tracing import recorded
from recmesh import spans
from recmesh.contract import DEFAULT_REDIS_PREFIX, DEFAULT_REDIS_URL, user_hash
from recmesh.dataset.archive import SCHEMA, Archive, position_key, without_deleted
from recmesh.progress import Reporter
from recmesh.stores.credentials import Credentials
from recmesh.stores.keys import Keys
from recmesh.stores.log import START, STREAMS, entry_of
from recmesh.stores.redis import RedisWriter

PART_ENTRIES = 100_000
"""Entries of one file at most."""

_HOUR_MS = 3_600_000


def archive(
    archive: Annotated[str, typer.Option(envvar="RECMESH_ARCHIVE", help="Archive: a folder or an fsspec URL.")],
    redis_url: Annotated[
        str,
        typer.Option(
            envvar="RECMESH_REDIS_URL", help="Redis. User and password: RECMESH_REDIS_USERNAME, RECMESH_REDIS_PASSWORD."
        ),
    ] = DEFAULT_REDIS_URL,
    redis_prefix: Annotated[
        str, typer.Option(envvar="RECMESH_REDIS_PREFIX", help="What the keys of recmesh in Redis begin with.")
    ] = DEFAULT_REDIS_PREFIX,
    keep: Annotated[
        float,
        typer.Option(
            min=0,
            help="Hours for which entries stay in the log once they are archived: longer than an ingestion takes.",
        ),
    ] = 24.0,
) -> None:
    """Write new entries of the log to the archive, then remove old ones that an earlier run wrote from the log."""
    reporter = Reporter(Console(highlight=False))
    redis = RedisWriter(redis_url, keys=Keys.of(redis_prefix), credentials=Credentials.from_environment("REDIS"))
    files = Archive(archive)
    positions = files.positions()
    with spans.span("copying the log"):
        written = sum(_copy(redis, files, stream, positions.get(stream, START), reporter) for stream in STREAMS)
    before = time.time() * 1000 - keep * _HOUR_MS
    # An ingestion that is running may have read the archive before this run.
    with spans.span("trimming the log"):
        trimmed = sum(_trim(redis, stream, last, before) for stream, last in positions.items())
    reporter.say(f"archive {files.url}: {written:,} entries written, {trimmed:,} removed from the log")


def _copy(redis: RedisWriter, files: Archive, stream: str, after: str, reporter: Reporter) -> int:
    """Write the entries of a stream after a position. Returns how many."""
    entries, written = redis.stream(redis.keys.log(stream, "entries"), after), 0
    while batch := [(position, entry_of(fields)) for position, fields in islice(entries, PART_ENTRIES)]:
        # What deleted users did goes first: a run that is killed afterwards is repeated.
        deleted = {user_hash(entry.delete_user): position for position, entry in batch if entry.delete_user}
        if deleted:
            removed = files.forget(stream, deleted)
            reporter.say(f"archive {files.url}: {len(deleted):,} users deleted, with {removed:,} entries")
        rows = [row for position, entry in batch if (row := row_of(position, entry))]
        frame = without_deleted(pl.DataFrame(rows, SCHEMA, orient="row"), deleted)
        files.write(stream, batch[0][0], batch[-1][0], frame)
        written += len(batch)
    return written


def _trim(redis: RedisWriter, stream: str, archived: str, before: float) -> int:
    """Remove the entries of a stream that are archived, applied, and older than a time. Returns how many."""
    (applied,) = redis.read([redis.keys.log(stream, "applied")])
    last = min(archived, (applied or START.encode()).decode(), f"{int(before)}-0", key=position_key)
    return redis.trim(redis.keys.log(stream, "entries"), last)


def main() -> int:
    """Run the command. Errors become one line on standard error and an exit code."""
    return run("archive", archive, recorded)


if __name__ == "__main__":
    sys.exit(main())
