"""Programs that are killed at random points of their work.

A point is the n-th event of one kind, such as the 17th command to Redis. Events of all kinds are drawn alike, from the
numbers that an undisturbed run had of them, so that the points cover the work evenly. Points in time would mostly hit
the imports.

`python -m tests.kills NUMBER FOLDER MODULE [ARGUMENT...]` runs a module as `python -m MODULE` does, and kills itself
before change number NUMBER of the files in FOLDER; with 0 it runs to its end. The last line on standard error says how
many changes there were.
"""

import atexit
import hashlib
import itertools
import os
import random
import runpy
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

CHANGES = "changes of files:"
_FILES = "files"
_CHANGING = ("os.mkdir", "os.remove", "os.rename", "os.rmdir")


@dataclass(frozen=True)
class Point:
    """Before event `number` of a kind; the first one has the number 1."""

    kind: str
    number: int


def points(events: Mapping[str, int], seed: int) -> Iterator[Point]:
    """Draw points, without end.

    Args:
        events: Number of events of an undisturbed run, by kind.
        seed: Random seed.
    """
    rng = random.Random(seed)
    every = [Point(kind, number + 1) for kind, total in events.items() for number in range(total)]
    while True:
        yield rng.choice(every)


def command(python: str, folder: Path, point: Point | None, module: str, *arguments: str) -> list[str]:
    """The command that runs a module. If the point is a change of the files in `folder`, it kills itself there."""
    number = point.number if point is not None and point.kind == _FILES else 0
    return [python, "-m", "tests.kills", str(number), str(folder), module, *arguments]


def changes(errors: str) -> dict[str, int]:
    """The number of events that a finished command has reported on standard error."""
    return {_FILES: int(errors.rstrip().rpartition(CHANGES)[2])}


def files(folder: Path) -> dict[str, str]:
    """The SHA-256 of all files below a folder, and "folder" for folders, by their paths relative to it."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
    }


class _Changes:
    """An audit hook that counts the changes of the files in a folder, and ends the process before one of them."""

    def __init__(self, folder: str, fatal: int) -> None:
        self.seen = 0
        self._inside = Path(folder)
        self._fatal = fatal
        self._numbers = itertools.count(1)  # counts in one step, whatever the number of threads

    def __call__(self, event: str, arguments: Sequence[object]) -> None:
        if not self._changes(event, arguments):
            return
        self.seen = next(self._numbers)
        if self.seen == self._fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    def _changes(self, event: str, arguments: Sequence[object]) -> bool:
        if event == "open":
            path, _, flags = arguments
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            return bool(writes) and self._is_inside(path, -1)
        return event in _CHANGING and self._is_inside(arguments[0], arguments[-1])

    def _is_inside(self, path: object, folder: object) -> bool:
        if not isinstance(path, (str, Path)):
            return False
        parent = Path(f"/proc/self/fd/{folder}").readlink() if isinstance(folder, int) and folder >= 0 else Path.cwd()
        return self._inside in (parent / path).parents


def _main() -> None:
    number, folder, module, *arguments = sys.argv[1:]
    changed = _Changes(folder, int(number))
    atexit.register(lambda: print(CHANGES, changed.seen, file=sys.stderr))
    sys.addaudithook(changed)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()
