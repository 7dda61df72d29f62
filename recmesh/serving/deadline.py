"""How long there is left for the request that runs now.

The interceptor starts the clock; whoever waits for something else takes a share of what remains.
"""

import asyncio
import time
from collections.abc import Awaitable
from contextvars import ContextVar
from typing import TypeVar

from recmesh.errors import DeadlineExceeded
from recmesh.timeouts import in_time

T = TypeVar("T")

_ends_at: ContextVar[float] = ContextVar("recmesh_deadline")


def start(seconds: float) -> None:
    """The request of this task must be answered within `seconds`."""
    _ends_at.set(time.monotonic() + seconds)


def remaining() -> float:
    """Seconds left; never negative.

    Raises:
        LookupError: no request runs in this task.
    """
    return max(0.0, _ends_at.get() - time.monotonic())


class Deadline:
    """A moment to be ready by, for code that shares its time among several stages."""

    __slots__ = ("_ends_at",)

    def __init__(self, seconds: float) -> None:
        self._ends_at = time.monotonic() + seconds

    def remaining(self) -> float:
        """Seconds left; never negative."""
        return max(0.0, self._ends_at - time.monotonic())

    def share(self, fraction: float) -> float:
        """That part of the seconds left."""
        return fraction * self.remaining()


async def within(seconds: float, what: str, awaitable: Awaitable[T]) -> T:
    """Await, but no longer than `seconds`.

    Raises:
        DeadlineExceeded: it took longer; `what` is named in the message.
    """
    try:
        return await in_time(seconds, awaitable)
    except (TimeoutError, asyncio.TimeoutError) as error:  # Two classes before 3.11.
        raise DeadlineExceeded(f"{what} did not answer within {seconds * 1000:.0f} ms") from error
