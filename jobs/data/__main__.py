"""`python -m jobs.data SOURCE FOLDER`: fetch a data set by name or URL; with `--wait FOLDER`, wait for one."""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from jobs.command import run
from jobs.data.fetching import fetch_url, is_url
from jobs.tracing import recorded
from recmesh.dataset import fetch
from recmesh.errors import DataError
from recmesh.throttle import LogThrottle

_POLL_INTERVAL_SECONDS = 2.0


def data(
    places: Annotated[
        list[str], typer.Argument(metavar="[SOURCE] FOLDER", help="Where the data set comes from and where it goes.")
    ],
    wait: Annotated[
        float, typer.Option(help="Fetch nothing; wait up to this many seconds for another job to create FOLDER.")
    ] = 0,
) -> None:
    """Create FOLDER with a data set, completely or not at all. An existing FOLDER is left as it is.

    SOURCE is a name from docs/datasets.md (such as `ta_feng`, `movielens:FOLDER` or `synthetic:users=100000`), or the
    URL (s3://, http://, https://, file://) of a folder or an archive (.tar.gz, .zip). HTTP serves archives only,
    because it cannot list folders.
    """
    folder = Path(places[-1])
    if wait:
        _wait_for(folder, wait)
    elif len(places) != 2:
        raise DataError("pass a source and a folder")
    elif not places[0].strip():
        raise DataError("the source of the data set is empty: give a name or a URL (dataset.source in the chart)")
    elif not folder.exists():
        _make(places[0], folder)
    print(f"data set: {folder}")


def _make(source: str, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    if is_url(source):
        fetch_url(source, folder)
    else:
        fetch(source, folder)


def _wait_for(folder: Path, seconds: float) -> None:
    limit, missing = time.monotonic() + seconds, LogThrottle()
    while not folder.is_dir():
        if time.monotonic() > limit:
            raise DataError(
                f"{folder} does not exist after {seconds:.0f} s: run `recmesh job run import` or copy it there"
            )
        if line := missing.due():
            print(f"Waiting for {folder}, for {line.seconds:.0f} s so far", file=sys.stderr, flush=True)
        time.sleep(_POLL_INTERVAL_SECONDS)


def main() -> int:
    """Run the command. Errors become one line on standard error and an exit code."""
    return run("data", data, recorded)


if __name__ == "__main__":
    sys.exit(main())
