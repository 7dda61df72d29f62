"""A sample of the answers in files, with what they were made of, for `recmesh replay` and `recmesh evaluate --answers`.

The log never delays or fails an answer. A thread writes it; what it cannot write, or not soon enough, is lost and
counted. The files hold profiles and histories, so only their owner can read them.
"""

import asyncio
import errno
import os
import queue
import random
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from io import FileIO
from pathlib import Path
from typing import Any

import structlog
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from recmesh.answers import PREFIX, SUFFIX, LoggedAnswer, Proposed, Scores
from recmesh.chain.model import Answer
from recmesh.chain.settings import ChainSettings
from recmesh.contract import REPLAY
from recmesh.pb.as_pb2 import ASRequest
from recmesh.pb.user_info_pb2 import History
from recmesh.serving import logs, metrics, tracing
from recmesh.serving.tracing import Metadata
from recmesh.throttle import LogThrottle

_MAX_WAITING = 128
"""Answers that wait for the thread, each with up to about 100 KiB."""

_FILES = 16
"""A folder at its limit has about so many files, and loses the oldest of them at a time."""

_CLOSE_SECONDS = 5.0
_FULL = "queue"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Entry:
    time: int
    trace_id: str
    request: ASRequest
    answer: Answer


class AnswerLog:
    """Writes a sample of answers."""

    def __init__(self, files: "AnswerFiles", share: float, draw: Callable[[], float] = random.random) -> None:
        """Start the thread that writes.

        Args:
            files: Where to write.
            share: Share of the answers that are logged.
            draw: Random numbers from 0 up to, but not including, 1.
        """
        self._files = files
        self._share = share
        self._draw = draw
        self._waiting: queue.Queue[_Entry | None] = queue.Queue(_MAX_WAITING)
        self._faults = LogThrottle()
        # A disk that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._write_all, name="answer-log", daemon=True)
        self._thread.start()

    def wants(self, metadata: Metadata | None) -> bool:
        """Whether to log the answer to a request with this metadata. Requests that are only replayed are not logged."""
        return self._draw() < self._share and not any(entry == REPLAY for entry in metadata or ())

    def add(self, request: ASRequest, answer: Answer) -> None:
        """Log an answer, with the time and the trace of this moment. Neither message may change afterwards.

        Args:
            request: As it arrived.
            answer: With its origin.
        """
        entry = _Entry(time.time_ns() // 1_000_000, tracing.current_trace_id() or "", request, answer)
        try:
            self._waiting.put_nowait(entry)
        except queue.Full:
            self._lost(_FULL, "the disk is too slow for so many answers: lower RECMESH_ANSWER_SAMPLE")

    def close(self) -> None:
        """Write what is waiting, for at most a few seconds."""
        with suppress(queue.Full):
            self._waiting.put(None, timeout=_CLOSE_SECONDS)
            self._thread.join(_CLOSE_SECONDS)

    def _write_all(self) -> None:
        while (entry := self._waiting.get()) is not None:
            try:
                self._files.append(_line(entry))
                metrics.LOGGED_ANSWERS.inc()
            except Exception as error:  # noqa: BLE001 - whatever happens to an answer, the next one may be logged
                self._lost(type(error).__name__, logs.reason(error))
        self._files.close()

    def _lost(self, kind: str, reason: str) -> None:
        metrics.UNLOGGED_ANSWERS.labels(kind).inc()
        if line := self._faults.due(kind):
            log.warning("answers not logged", requests=line.events, seconds=line.seconds, reason=reason)


class AnswerFiles:
    """Files in a folder, together never larger than a limit. Another process may write to the same folder."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """Write nothing yet; the first answer creates the folder and the first file.

        Args:
            folder: Where the files are.
            max_bytes: Limit for the sum of their sizes.
        """
        self._folder = folder
        self._max_bytes = max_bytes
        self._file: FileIO | None = None
        self._size = 0

    def append(self, line: bytes) -> None:
        """Append a line to the newest file, or begin another one.

        Raises:
            OSError: It cannot be written. No part of it stays in the file.
        """
        try:
            file = self._file_for(len(line))
            written = file.write(line)
            if written < len(line):
                file.truncate(self._size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._folder))
            self._size += written
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """End the newest file."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                file.close()

    def _file_for(self, size: int) -> FileIO:
        """The file for a line of `size` bytes."""
        file = self._file
        if file is not None and os.fstat(file.fileno()).st_nlink and self._size + size <= self._max_bytes // _FILES:
            return file
        self.close()
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._make_room(max(size, self._max_bytes // _FILES))
        now = datetime.now(timezone.utc)
        # Names of processes that begin a file at the same time differ.
        path = self._folder / f"{PREFIX}{now:%Y%m%dT%H%M%S.%f}-{secrets.token_hex(4)}{SUFFIX}"
        self._file, self._size = FileIO(path, "xb", opener=_private), 0
        return self._file

    def _make_room(self, size: int) -> None:
        """Delete the oldest files until another `size` bytes fit."""
        if size > self._max_bytes:
            raise OSError(errno.EFBIG, f"an answer of {size:,} bytes exceeds RECMESH_ANSWER_LOG_MIB", str(self._folder))
        files = sorted(self._folder.glob(f"{PREFIX}*{SUFFIX}"))
        sizes = {file: _size(file) for file in files}
        total = sum(sizes.values())
        for file in files:
            if total + size <= self._max_bytes:
                break
            file.unlink(missing_ok=True)
            total -= sizes[file]


@asynccontextmanager
async def open_answer_log(settings: ChainSettings) -> AsyncIterator[AnswerLog | None]:
    """The log that the settings ask for; None if no answer is to be logged."""
    if not settings.answer_sample:
        yield None
        return
    files = AnswerFiles(settings.answer_log or settings.home / "answers", settings.answer_log_mib << 20)
    answers = AnswerLog(files, settings.answer_sample)
    try:
        yield answers
    finally:
        await asyncio.to_thread(answers.close)


def _line(entry: _Entry) -> bytes:
    answer, origin = entry.answer, entry.answer.origin
    assert origin is not None, "the chain was not asked to record this answer"
    found, ranked = origin.candidates, origin.ranked
    logged = LoggedAnswer(
        time=entry.time,
        now=found.now,
        trace_id=entry.trace_id,
        release=answer.release,
        degraded=tuple(answer.degraded),
        unknown_user=answer.unknown_user,
        items=tuple(item.sku_id for item in answer.items),
        candidates=Scores(ids=tuple(found.ids), scores=_floats(found.scores)),
        channels={
            name: Proposed(positions=tuple(map(int, part.positions)), scores=_floats(part.scores))
            for name, part in found.channels.items()
        },
        ranked=Scores(ids=tuple(ranked.ids), scores=_floats(ranked.scores)),
        request=_plain(entry.request),
        profile=_plain(origin.user.profile),
        history=_columns(origin.user.history),
    )
    return logged.model_dump_json().encode() + b"\n"


def _floats(values: Iterable[float]) -> tuple[float, ...]:
    """Values of float32 as the numbers with the fewest digits that become the same values again."""
    return tuple(float(f"{value:.9g}") for value in values)


def _plain(message: Message) -> dict[str, Any]:
    return MessageToDict(message, preserving_proto_field_name=True)


def _columns(history: History) -> dict[str, Any]:
    """The JSON form of a history. json_format takes several times as long, for hundreds of actions."""
    columns = {
        "sku_ids": list(history.sku_ids),
        "times": list(map(str, history.times)),
        "types": list(history.types),
        "values": list(_floats(history.values)),
        "type_names": list(history.type_names),
        "older_sku_ids": list(history.older_sku_ids),
    }
    return {name: column for name, column in columns.items() if column}


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:  # another process has deleted it
        return 0


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_APPEND, 0o600)
