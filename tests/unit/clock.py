"""A clock that tests move, in place of the system's."""

import asyncio
import importlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest


class Clock:
    """Monotonic time in seconds, for a module that calls `time.monotonic`, `time.perf_counter` or `asyncio.sleep`.

    Attributes:
        now: The present time.
        pauses: The pauses that the module has made, except those of 0 seconds.
        at_pause: Called at the end of each pause.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
        """Take the place of the system's clock in some modules. The time is not 0, which could mean "never"."""
        self.now = 1_000.0
        self.pauses: list[float] = []
        self.at_pause: Callable[[], object] = lambda: None
        for module in map(importlib.import_module, modules):
            times = SimpleNamespace(monotonic=self, perf_counter=self, sleep=self._paused)
            monkeypatch.setattr(module, "time", times, raising=False)
            monkeypatch.setattr(module, "asyncio", _Asyncio(self), raising=False)

    def __call__(self) -> float:
        """The present time."""
        return self.now

    def _paused(self, seconds: float) -> None:
        if seconds:
            self.pauses.append(seconds)
            self.now += seconds
            self.at_pause()

    async def sleep(self, seconds: float) -> None:
        """Move on without waiting."""
        self._paused(seconds)
        await asyncio.sleep(0)


class _Asyncio:
    """asyncio with pauses by a clock."""

    def __init__(self, clock: Clock) -> None:
        self.sleep = clock.sleep

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)
