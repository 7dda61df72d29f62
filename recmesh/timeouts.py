"""Waiting with a timeout."""

import asyncio
import sys
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def in_time(seconds: float, awaitable: Awaitable[T]) -> T:
    """Await for at most `seconds`.

    Returns:
        The result of the awaitable.

    Raises:
        asyncio.TimeoutError: If it takes longer.
    """
    if sys.version_info >= (3, 11):
        # Before 3.12, wait_for creates a task, which costs too much on the hot path.
        async with asyncio.timeout(seconds):
            return await awaitable
    return await asyncio.wait_for(awaitable, seconds)
