"""The finished requests of a run on disk, from which the run resumes after an interruption.

The first line identifies the run (files, options), every other line is a finished request: a key, and what is to be
known about it. A line that a crash has cut off is dropped.
"""

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from recmesh.errors import SettingsError


class Journal:
    """The finished requests of one run. A lock keeps two runs from writing one file.

    Args:
        path: The file.
        run: Identifies the run. The lines of another run are discarded.

    Attributes:
        started_over: Whether lines of another run were discarded.

    Raises:
        SettingsError: Another run has the lock.
    """

    def __init__(self, path: Path, run: Mapping[str, object]) -> None:
        self._path = path
        self._file: BinaryIO = path.open("a+b", buffering=0)
        self._offsets: dict[str, int] = {}
        self.started_over = False
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise SettingsError(f"{path}: another run is writing it; wait until it has ended") from None
        self._load(json.dumps(dict(run), sort_keys=True).encode())

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._offsets:
            self.remove()
        self._file.close()

    def __contains__(self, key: str) -> bool:
        return key in self._offsets

    def __len__(self) -> int:
        return len(self._offsets)

    def add(self, key: str, *facts: object) -> None:
        """Append a finished request with what is to be known about it, in one write."""
        line = json.dumps([key, *facts], ensure_ascii=False)
        self._offsets[key] = self._end
        self._end += self._file.write(line.encode() + b"\n")

    def read(self, keys: Iterable[str]) -> Iterator[list[Any]]:
        """Read the finished requests among `keys`, in that order.

        Args:
            keys: Keys of requests.

        Yields:
            The key, and what was added with it.
        """
        with self._path.open("rb") as file:
            for key in keys:
                if key in self._offsets:
                    file.seek(self._offsets[key])
                    yield json.loads(file.readline())

    def remove(self) -> None:
        """Delete the file: there is nothing to resume."""
        self._path.unlink(missing_ok=True)

    def _load(self, run: bytes) -> None:
        self._file.seek(0)
        self._end = 0
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            if self._end == 0:
                if line[:-1] != run:
                    self.started_over = True
                    break
            else:
                self._offsets[json.loads(line)[0]] = self._end
            self._end += len(line)
        os.ftruncate(self._file.fileno(), self._end)
        if self._end == 0:
            self._end = self._file.write(run + b"\n")
