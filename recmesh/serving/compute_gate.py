"""Computation on the event loop that does not starve it."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from recmesh.serving.load import Congestion

T = TypeVar("T")

# gRPC hands a call over in about this time, and the next one only after that.
_HANDOVER_SECONDS = 0.0001
# After so many of these times without a call, the queue is probably empty.
_EMPTY, _EMPTY_WHILE_LIMITED = 1, 3
_MAX_HANDOVERS = 40
_LOOK_EVERY = 16


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
        self.congestion = Congestion()
        self._lock = asyncio.Lock()
        self._pending = 0
        self._arrivals = 0
        self._opportunities = 0
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
        came = time.monotonic()
        try:
            async with self._lock:
                self.congestion.waited(time.monotonic() - came)
                if in_thread:
                    return await asyncio.to_thread(compute)
                result = compute()
                # The next holder of the lock starts in the next iteration of the loop, not in this one.
                await asyncio.sleep(0)
                if self._pending > 1:
                    await self._let_calls_in()
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

    async def _let_calls_in(self) -> None:
        """Let gRPC hand over the calls in its queue, if there are any: nothing can refuse them there.

        A call takes two iterations of the loop and a thread of gRPC. Without this, one would come in for every two
        computations, about as many as are answered, and the queue would grow unseen. While the process is not limited,
        a look at every sixteenth opportunity is enough to see that.
        """
        congestion, without_call = self.congestion, 0
        if congestion.arrivals == self._arrivals:
            return
        self._opportunities += 1
        if not congestion.limited and self._opportunities % _LOOK_EVERY:
            return
        empty = _EMPTY_WHILE_LIMITED if congestion.limited else _EMPTY
        for _ in range(_MAX_HANDOVERS):
            self._arrivals = congestion.arrivals
            # Blocks the loop, whose timers are too coarse.
            time.sleep(_HANDOVER_SECONDS)  # noqa: ASYNC251
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            without_call = without_call + 1 if congestion.arrivals == self._arrivals else 0
            if without_call == empty:
                return

    def _leave(self) -> None:
        self._pending -= 1
        if not self._pending and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)
