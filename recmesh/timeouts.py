"""Waiting for something, but not for ever."""

import asyncio
import sys
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def in_time(seconds: float, awaitable: Awaitable[T]) -> T:
    """Await, but no longer than `seconds`. Raises asyncio.TimeoutError when it takes longer."""
    if sys.version_info >= (3, 11):
        # No task of its own, unlike wait_for before 3.12: this is on the hot path.
        async with asyncio.timeout(seconds):
            return await awaitable
    return await asyncio.wait_for(awaitable, seconds)
