"""The time that is left for the current request.

The interceptor starts the clock. Code that waits for another service or a store takes a share of the time left.
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
    """Give the request of the current task `seconds` from now."""
    _ends_at.set(time.monotonic() + seconds)


def remaining() -> float:
    """Seconds left for the request of the current task; never negative.

    Raises:
        LookupError: The current task does not answer a request.
    """
    return max(0.0, _ends_at.get() - time.monotonic())


class Deadline:
    """A deadline that several stages share."""

    __slots__ = ("_ends_at",)

    def __init__(self, seconds: float) -> None:
        """End `seconds` from now."""
        self._ends_at = time.monotonic() + seconds

    def remaining(self) -> float:
        """Seconds left; never negative."""
        return max(0.0, self._ends_at - time.monotonic())

    def share(self, fraction: float) -> float:
        """A fraction of the seconds left."""
        return fraction * self.remaining()


async def within(seconds: float, what: str, awaitable: Awaitable[T]) -> T:
    """The result of `awaitable`, if it comes within `seconds`.

    Args:
        seconds: The limit.
        what: Names the awaited part in the error.
        awaitable: Cancelled when the time is up.

    Raises:
        DeadlineExceeded: The time is up.
    """
    try:
        return await in_time(seconds, awaitable)
    except (TimeoutError, asyncio.TimeoutError) as error:  # Two classes before Python 3.11.
        raise DeadlineExceeded(f"{what} did not answer within {seconds * 1000:.0f} ms") from error
