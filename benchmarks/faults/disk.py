"""Small file systems in memory, which can be filled to the last byte."""

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recmesh.errors import SettingsError

_FILLER = ".filler"
_BLOCK = bytes(1 << 20)


class Disk:
    """A mounted file system.

    Args:
        folder: Where it is mounted.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / _FILLER

    def fill(self) -> None:
        """Leave no free byte."""
        with self._filler.open("ab", buffering=0) as file:
            size = len(_BLOCK)
            while size:
                try:
                    file.write(_BLOCK[:size])
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    size //= 2

    def free(self) -> None:
        """Give the space back."""
        self._filler.unlink(missing_ok=True)


def why_not(folder: Path) -> str:
    """Why no file system can be mounted; empty if one can."""
    try:
        with mounted(folder, len(_BLOCK)):
            return ""
    except SettingsError as error:
        return str(error)


@contextmanager
def mounted(folder: Path, size: int) -> Iterator[Disk]:
    """A file system of `size` bytes in memory during the block.

    Raises:
        SettingsError: It cannot be mounted, which needs root.
    """
    unmount(folder)
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "recmesh-faults", str(folder)]
    if os.geteuid() or shutil.which("mount") is None:
        raise SettingsError("a small file system can only be mounted by root")
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise SettingsError(f"a small file system cannot be mounted: {' '.join(result.stderr.split())}")
    try:
        yield Disk(folder)
    finally:
        unmount(folder)


def unmount(folder: Path) -> None:
    """Unmount what an earlier run has left, and keep the folder. Files that are still open keep their content."""
    if folder.is_mount():
        subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, check=True)
