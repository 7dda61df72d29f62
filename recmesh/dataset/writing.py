"""Writing a data set folder: all of it, or nothing."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recmesh.errors import DataError

#: Lies in every folder that we made, so that making it again may replace it; anything else is left alone.
MARK = ".recmesh-dataset"


@contextmanager
def new_folder(into: Path) -> Iterator[Path]:
    """A temporary folder beside `into` that takes its place when the block ends well, and vanishes when it does not.

    Replaces `into` when it is empty or was made by this function; raises DataError when it holds anything else.
    Interrupted at any moment, `into` is the old folder, the new one, or not there.
    """
    into = into.absolute()
    if into.exists() and not (into.is_dir() and ((into / MARK).exists() or not any(into.iterdir()))):
        raise DataError(f"{into}: exists and was not made by recmesh; name another folder or remove it")
    into.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{into.name}.", dir=into.parent))
    try:
        made = work / "new"
        made.mkdir()
        yield made
        (made / MARK).touch()
        if into.exists():
            into.rename(work / "old")
        made.rename(into)
    finally:
        shutil.rmtree(work, ignore_errors=True)
