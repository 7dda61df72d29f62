"""The log of answers: one line of JSON for each answer of `as` that was sampled. `as` writes it (docs/answers.md)."""

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from recmesh.errors import DataError

VERSION = 1
"""Version of the lines that are written. Lines of other versions are not read."""

PREFIX, SUFFIX = "answers-", ".jsonl"
"""What the names of the files begin and end with. Between them is the time of the first line, so names sort by age."""

_SUFFIXES = (SUFFIX, f"{SUFFIX}.gz")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Scores(_Frozen):
    """Items, best first, and the score of each."""

    ids: tuple[str, ...]
    scores: tuple[float, ...]

    @model_validator(mode="after")
    def _fit(self) -> "Scores":
        if len(self.ids) != len(self.scores):
            raise ValueError("ids and scores differ in length")
        return self


class Proposed(_Frozen):
    """What a channel proposed: positions in the list of candidates, and the channel's score of each."""

    positions: tuple[int, ...]
    scores: tuple[float, ...]


class LoggedAnswer(_Frozen):
    """An answer, and what it was made of.

    Attributes:
        version: Of this format.
        time: When it was given, by the wall clock, in milliseconds since 1970-01-01 UTC.
        now: The time that counted as the present for the user (docs/adr/006), in the time of the data set.
        trace_id: Of its trace; empty without one.
        release: The release that gave the candidates.
        degraded: What was missing.
        unknown_user: Whether the request names a user who is not stored.
        items: Ids of the items that were shown, best first.
        candidates: All candidates, with the scores of recall.
        channels: What each channel proposed, by its name.
        ranked: The candidates in the order of the ranker, with its scores; those of recall if rank failed.
        request: The ASRequest, in the JSON form of protobuf.
        profile: The UserInfo that the stages got, likewise.
        history: The History that the stages got, likewise.
    """

    version: int = VERSION
    time: int
    now: int
    trace_id: str = ""
    release: str
    degraded: tuple[str, ...] = ()
    unknown_user: bool = False
    items: tuple[str, ...]
    candidates: Scores
    channels: dict[str, Proposed]
    ranked: Scores
    request: dict[str, Any]
    profile: dict[str, Any]
    history: dict[str, Any]

    @model_validator(mode="after")
    def _positions_exist(self) -> "LoggedAnswer":
        candidates = range(len(self.candidates.ids))
        for name, proposed in self.channels.items():
            if any(position not in candidates for position in proposed.positions):
                raise ValueError(f"channel {name} proposed a position that is not among the candidates")
        return self

    @property
    def user_id(self) -> str:
        """The user that the request names."""
        return str(self.request.get("user_id", ""))

    def proposals(self) -> dict[str, frozenset[str]]:
        """The items that each channel proposed."""
        ids = self.candidates.ids
        return {name: frozenset(ids[position] for position in of.positions) for name, of in self.channels.items()}


def answer_files(path: Path) -> list[Path]:
    """Find the files of a log, oldest first.

    Args:
        path: A file, or a folder with the files of a log.

    Raises:
        DataError: There is none.
    """
    if path.is_file():
        return [path]
    files = sorted(found for found in path.glob(f"{PREFIX}*") if found.name.endswith(_SUFFIXES))
    if not files:
        raise DataError(f"{path}: no file, and no folder with {PREFIX}*{SUFFIX}; RECMESH_ANSWER_SAMPLE makes `as` log")
    return files


def read_answers(files: Iterable[Path], bad: Callable[[str], None]) -> Iterator[tuple[str, LoggedAnswer]]:
    """Read the answers of files.

    Args:
        files: Files of a log; those that end with .gz are compressed.
        bad: Called for each line that is not an answer, with a sentence that names file, line and reason.

    Yields:
        The place of an answer, `file:line`, and the answer.
    """
    for file in files:
        number = 0
        try:
            with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as lines:
                for number, line in enumerate(lines, 1):
                    place = f"{file}:{number}"
                    try:
                        answer = _parsed(line)
                    except ValueError as error:
                        bad(f"{place}: {error}")
                    else:
                        yield place, answer
        except (OSError, EOFError, zlib.error) as error:
            bad(f"{file}:{number + 1}: cannot be read from here on: {error}")


def _parsed(line: bytes) -> LoggedAnswer:
    """Parse a line. Raises ValueError with a reason in one line."""
    try:
        answer = LoggedAnswer.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        reason = " ".join(first["msg"].split())
        raise ValueError(f"not a logged answer ({f'{field}: ' if field else ''}{reason})") from None
    if answer.version != VERSION:
        raise ValueError(f"version {answer.version} of the format; this program reads version {VERSION}")
    return answer
