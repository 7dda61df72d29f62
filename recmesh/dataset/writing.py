"""Write a data set folder completely or not at all."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recmesh.errors import DataError

MARK = ".recmesh-dataset"
"""A file in every folder made by recmesh. Only such folders may be replaced."""


@contextmanager
def new_folder(into: Path) -> Iterator[Path]:
    """Make a folder in one step.

    The block fills a temporary folder. If the block succeeds, that folder becomes `into`; if it raises, the folder is
    deleted. After an interruption at any time, `into` is the old folder, the new one, or missing.

    Args:
        into: The folder to make. It replaces an empty folder, or one made by this function.

    Yields:
        The temporary folder.

    Raises:
        DataError: `into` contains something else.
    """
    into = into.absolute()
    if into.exists() and not (into.is_dir() and ((into / MARK).exists() or not any(into.iterdir()))):
        raise DataError(f"{into}: exists, but recmesh did not make it; choose another folder or remove it")
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
