"""The two loads under which a fault happens: pages, which call `as` at a steady pace, and a batch job."""

import asyncio
import contextlib
import csv
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from recmesh.cli.batch import BatchOptions, run_batch
from recmesh.client import AS, Mesh, Method, Request, Response, Targets
from recmesh.contract import DEFAULT_RECOMMENDATIONS
from recmesh.errors import RecmeshError, Unavailable
from recmesh.pb.as_pb2 import ASRequest, ASResponse

BATCH_TIMEOUT = 30.0
"""Seconds for a row, as in `client.py batch`."""

DISTURBED_SECONDS = 1.0
"""An answer that takes longer counts as disturbed."""

_SETTLED_ANSWERS = 3
_SETTLE_INTERVAL_SECONDS = 0.1
_SETTLE_SECONDS = 60.0

Expected = Mapping[str, Sequence[str]]
"""The items of each user's complete answer."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of a request.

    Attributes:
        at: When it came, in seconds of the monotonic clock.
        seconds: How long it took.
        degraded: Parts that were missing.
        error: The error, if the request failed.
        is_wrong: Whether the answer claims to be complete, but has other items than it should.
    """

    at: float
    seconds: float
    degraded: Sequence[str] = ()
    error: str = ""
    is_wrong: bool = False

    @property
    def is_disturbed(self) -> bool:
        """Whether a caller notices that something is wrong."""
        return bool(self.degraded or self.error or self.is_wrong or self.seconds > DISTURBED_SECONDS)


class RecordingMesh(Mesh):
    """A client that keeps a `Reply` for each call of `as`, and makes at most `rate` calls a second.

    Attributes:
        replies: One for each call that has ended.
    """

    def __init__(
        self, targets: Targets, expected: Expected, *, timeout: float, rate: float = 0.0, is_batch: bool = False
    ) -> None:
        super().__init__(targets, timeout=timeout, retry_overload=is_batch)
        self.replies: list[Reply] = []
        self._expected = expected
        self._pause = 1 / rate if rate else 0.0
        self._next_at = 0.0

    async def call(
        self, method: Method[Request, Response], request: Request, *, timeout: float | None = None
    ) -> Response:
        """See `Mesh.call`."""
        began = self._next_at = max(self._next_at + self._pause, time.monotonic())
        await asyncio.sleep(began - time.monotonic())
        try:
            response = await super().call(method, request, timeout=timeout)
        except RecmeshError as error:
            self._record(began, error=str(error))
            raise
        assert isinstance(request, ASRequest)
        assert isinstance(response, ASResponse)
        expected = self._expected.get(request.user_id)
        is_wrong = not response.degraded and expected is not None and expected != _ids(response)
        self._record(began, tuple(response.degraded), is_wrong=is_wrong)
        return response

    def _record(self, began: float, degraded: Sequence[str] = (), error: str = "", is_wrong: bool = False) -> None:
        now = time.monotonic()
        self.replies.append(Reply(now, now - began, degraded, error, is_wrong))


def _ids(response: ASResponse) -> Sequence[str]:
    return [item.sku_id for item in response.item_infos]


def _request(user_id: str) -> ASRequest:
    return ASRequest(user_id=user_id, size=DEFAULT_RECOMMENDATIONS)


async def expected_answers(targets: Targets, users: Sequence[str]) -> Expected:
    """The items that each user gets while all is well.

    Raises:
        Unavailable: Answers are still degraded after a minute.
    """
    answers = {}
    ends_at = time.monotonic() + _SETTLE_SECONDS
    async with Mesh(targets) as mesh:
        for user_id in users:
            response = await mesh.call(AS, _request(user_id))
            while response.degraded:  # on a busy machine some are
                if time.monotonic() > ends_at:
                    raise Unavailable(
                        f"answers lack {', '.join(response.degraded)} before any fault; see `make status`"
                    )
                response = await mesh.call(AS, _request(user_id))
            answers[user_id] = _ids(response)
    return answers


async def call_pages(mesh: Mesh, users: Sequence[str], rate: float, seconds: float) -> None:
    """Open loop: a request every 1/rate seconds, whether or not earlier requests have been answered."""
    began = time.monotonic()
    calls: list[asyncio.Task[None]] = []
    try:
        while (number := len(calls)) < rate * seconds:
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            calls.append(asyncio.create_task(_call(mesh, users[number % len(users)])))
        await asyncio.gather(*calls)
    finally:
        for call in calls:
            call.cancel()


async def _call(mesh: Mesh, user_id: str) -> None:
    with contextlib.suppress(RecmeshError):  # recorded
        await mesh.call(AS, _request(user_id))


async def call_batch(mesh: Mesh, users: Sequence[str], folder: Path) -> str:
    """Run `client.py batch` on a file with a row for each user.

    Returns:
        Why the batch ended before its last row; empty if it did not.
    """
    queries = folder / "queries.csv"
    with queries.open("w", newline="") as file:
        csv.writer(file).writerows([("user_id",), *((user_id,) for user_id in users)])
    options = BatchOptions(queries, folder / "predictions.csv", size=DEFAULT_RECOMMENDATIONS)
    try:
        await run_batch(mesh, options, Console(quiet=True))
    except RecmeshError as error:
        return f"batch gave up: {error}"
    return ""


async def settle(mesh: RecordingMesh, user_id: str) -> None:
    """Call until several answers in a row are undisturbed.

    Raises:
        Unavailable: They are not within a minute.
    """
    ends_at, undisturbed = time.monotonic() + _SETTLE_SECONDS, 0
    while undisturbed < _SETTLED_ANSWERS:
        await _call(mesh, user_id)
        undisturbed = 0 if mesh.replies[-1].is_disturbed else undisturbed + 1
        if time.monotonic() > ends_at:
            last = mesh.replies[-1]
            why = last.error or f"degraded {', '.join(last.degraded) or 'nothing'}, {last.seconds:.1f} s"
            raise Unavailable(f"answers are still disturbed {_SETTLE_SECONDS:.0f} s after the fault: {why}")
        await asyncio.sleep(_SETTLE_INTERVAL_SECONDS)
