"""Computing on the event loop without starving it."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Turns:
    """Runs at most one computation between two looks of the event loop at its sockets.

    Many requests that became ready together would otherwise compute one after the other, and health checks would wait
    for all of them.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._waiting = 0

    @property
    def busy(self) -> bool:
        """Whether something computes or waits for its turn."""
        return self._waiting > 0

    async def run(self, compute: Callable[[], T], *, in_thread: bool = False) -> T:
        """The result of `compute`, which runs here or, if it takes long, in a thread beside the loop."""
        self._waiting += 1
        try:
            async with self._lock:
                if in_thread:
                    return await asyncio.to_thread(compute)
                result = compute()
                # Whoever waits for the lock starts in the next turn, not in this one.
                await asyncio.sleep(0)
                return result
        finally:
            self._waiting -= 1
