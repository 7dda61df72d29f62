"""Computation on the event loop that does not starve it."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class ComputeGate:
    """Runs at most one computation per iteration of the event loop.

    Without the gate, requests that become ready together would compute one after the other, and health checks would
    wait for all of them.
    """

    def __init__(self, *, model_thread: bool = False) -> None:
        """Start with nothing to compute.

        Args:
            model_thread: Run models in a thread of their own while other computations wait. The two thread switches
                per call pay off only if the event loop has more work than one core can do.
        """
        self._lock = asyncio.Lock()
        self._pending = 0
        self._idle: asyncio.Future[None] | None = None
        self._model_thread = ThreadPoolExecutor(1, "model") if model_thread else None

    @property
    def busy(self) -> bool:
        """Whether a computation runs or waits for its turn."""
        return self._pending > 0

    def idle(self) -> "asyncio.Future[None]":
        """A future that is done once no computation runs or waits. Callers share it until then."""
        if self._idle is None or self._idle.done():
            self._idle = asyncio.get_running_loop().create_future()
            if not self._pending:
                self._idle.set_result(None)
        return self._idle

    async def run(self, compute: Callable[[], T], *, in_thread: bool = False) -> T:
        """The result of `compute`.

        Args:
            compute: Runs on the event loop, unless `in_thread` is set.
            in_thread: For long computations, which would delay health checks.
        """
        self._pending += 1
        try:
            async with self._lock:
                if in_thread:
                    return await asyncio.to_thread(compute)
                result = compute()
                # The next holder of the lock starts in the next iteration of the loop, not in this one.
                await asyncio.sleep(0)
                return result
        finally:
            self._leave()

    async def run_model(self, infer: Callable[[], T], *, in_thread: bool = False) -> T:
        """The result of `infer`, which must release the GIL while it computes. `in_thread`: see `run`."""
        if self._model_thread is None or not self.busy:
            return await self.run(infer, in_thread=in_thread)
        self._pending += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._model_thread, infer)
        finally:
            self._leave()

    def _leave(self) -> None:
        self._pending -= 1
        if not self._pending and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)
