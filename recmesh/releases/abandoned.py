"""Temporary folders of downloads. While a process fills such a folder, it holds a lock on a file next to the folder.

The system releases the locks of a process that is killed, but its folders stay. The next download into the same cache
removes every folder whose lock is free.
"""

import fcntl
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOCK = ".lock"


@contextmanager
def claimed(target: Path) -> Iterator[Path]:
    """Yield a path beside `target` for a temporary folder, which is removed at the end of the block if it is there."""
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    lock = temporary.with_name(temporary.name + _LOCK)
    with lock.open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        try:
            yield temporary
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            lock.unlink(missing_ok=True)


def remove_abandoned(cache: Path) -> None:
    """Remove the temporary folders of processes that have ended."""
    for lock in cache.glob(f".*{_LOCK}"):
        try:
            with lock.open("rb") as held:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                for folder in cache.glob(f"{lock.name.removesuffix(_LOCK)}*"):
                    if folder != lock:
                        shutil.rmtree(folder, ignore_errors=True)
                lock.unlink(missing_ok=True)
        except OSError:  # somebody holds it, or has just removed it
            continue
