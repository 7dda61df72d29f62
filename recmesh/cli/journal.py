"""The finished queries of a batch on disk, from which an interrupted run resumes.

The first line identifies the run (queries, options), every other line is a finished query. A line that a crash has cut
off is dropped.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from recmesh.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Answer:
    """A finished query.

    Attributes:
        key: The key of the query.
        sku_ids: The items, best first.
        degraded: What the answer lacks.
        release: The release that answered.
    """

    key: str
    sku_ids: list[str]
    degraded: list[str]
    release: str


class Journal:
    """The finished queries of one run. A lock keeps two batches from writing one file.

    Args:
        path: The file.
        run: Identifies the run. The lines of another run are discarded.

    Attributes:
        started_over: Whether lines of another run were discarded.

    Raises:
        SettingsError: Another batch has the lock.
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
            raise SettingsError(f"{path}: another batch is writing it; wait for it, or choose another --out") from None
        self._load(json.dumps(dict(run), sort_keys=True).encode())

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __contains__(self, key: str) -> bool:
        return key in self._offsets

    def __len__(self) -> int:
        return len(self._offsets)

    def add(self, answer: Answer) -> None:
        """Append a finished query, in one write."""
        line = json.dumps([answer.key, answer.sku_ids, answer.degraded, answer.release], ensure_ascii=False)
        self._offsets[answer.key] = self._end
        self._end += self._file.write(line.encode() + b"\n")

    def read(self, keys: Iterator[str]) -> Iterator[Answer]:
        """Read the answers of the finished queries among `keys`, in that order.

        Args:
            keys: Keys of queries.

        Yields:
            Their answers.
        """
        with self._path.open("rb") as file:
            for key in keys:
                if key in self._offsets:
                    file.seek(self._offsets[key])
                    yield Answer(*json.loads(file.readline()))

    def remove(self) -> None:
        """Delete the file: the run is complete."""
        self._path.unlink()

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
