"""Computing on the event loop without starving it."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class ComputeGate:
    """Runs at most one computation between two looks of the event loop at its sockets.

    Many requests that became ready together would otherwise compute one after the other, and health checks would wait
    for all of them.

    Args:
        beside: models run in a thread beside the loop while other requests are being answered. Worth its price, two
            hand-overs a call, where the loop has more to do than one core can.
    """

    def __init__(self, *, beside: bool = False) -> None:
        self._lock = asyncio.Lock()
        self._waiting = 0
        self._idle: asyncio.Future[None] | None = None
        self._model_thread = ThreadPoolExecutor(1, "model") if beside else None

    @property
    def busy(self) -> bool:
        """Whether something computes or waits for its turn."""
        return self._waiting > 0

    def idle(self) -> "asyncio.Future[None]":
        """Done as soon as nothing computes or waits for its turn. All who ask meanwhile get the same one."""
        if self._idle is None or self._idle.done():
            self._idle = asyncio.get_running_loop().create_future()
            if not self._waiting:
                self._idle.set_result(None)
        return self._idle

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
            self._leave()

    async def run_model(self, infer: Callable[[], T], *, in_thread: bool = False) -> T:
        """The result of `infer`, which does not hold Python's lock while it computes; `in_thread` as for `run`."""
        if self._model_thread is None or not self.busy:
            return await self.run(infer, in_thread=in_thread)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._model_thread, infer)
        finally:
            self._leave()

    def _leave(self) -> None:
        self._waiting -= 1
        if not self._waiting and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)
