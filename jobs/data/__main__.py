"""`python -m jobs.data SOURCE FOLDER`: make a data set by name, or fetch it from a URL; `--wait`: until it is there."""

import re
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from jobs.command import run
from jobs.data.fetching import fetch_url, is_url
from recmesh.dataset import NAMES, fetch, synthetic
from recmesh.errors import DataError

_LOOK_SECONDS = 2.0


def data(
    places: Annotated[list[str], typer.Argument(metavar="[SOURCE] FOLDER", help="From where, and to where.")],
    wait: Annotated[float, typer.Option(help="Only wait so many seconds for FOLDER, which another job makes.")] = 0,
) -> None:
    """Bring a data set to FOLDER, whole or not at all; one that is there stays.

    SOURCE is a name that recmesh knows, `synthetic:USERSxPRODUCTS` for a generated shop of that size, or the URL
    (s3://, http://, https://, file://) of a folder or an archive (.tar.gz, .zip). Folders need a store that lists
    them: not http.
    """
    folder = Path(places[-1])
    if wait:
        _wait_for(folder, wait)
    elif len(places) != 2:
        raise DataError("give a source and a folder")
    elif not folder.exists():
        _make(places[0], folder)
    print(f"data set: {folder}")


def _make(source: str, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    if is_url(source):
        fetch_url(source, folder)
    elif size := re.fullmatch(r"synthetic:(\d+)x(\d+)", source):
        synthetic(folder, int(size[1]), int(size[2]))
    elif source in NAMES:
        fetch(source, folder)
    else:
        raise DataError(f"{source}: neither a URL nor one of {', '.join(NAMES)}")


def _wait_for(folder: Path, seconds: float) -> None:
    limit = time.monotonic() + seconds
    while not folder.is_dir():
        if time.monotonic() > limit:
            raise DataError(
                f"{folder} is not there after {seconds:.0f} s: run `recmesh job run import`, or put it there"
            )
        time.sleep(_LOOK_SECONDS)


def main() -> int:
    """Run the command; errors become one line and an exit code."""
    return run("data", data)


if __name__ == "__main__":
    sys.exit(main())
