"""Values of metrics, for tests."""

import asyncio
import time
from collections.abc import Callable

from prometheus_client import REGISTRY


def value(name: str, /, **labels: str) -> float:
    """The present value of a series; 0 if it does not exist yet."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


def added(name: str, /, **labels: str) -> Callable[[], float]:
    """A function that returns by how much a series has grown since now."""
    before = value(name, **labels)
    return lambda: value(name, **labels) - before


async def eventually(true: Callable[[], bool], seconds: float = 60.0) -> None:
    """Let other tasks and threads run until something is true."""
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit, f"not within {seconds:.0f} s"
        await asyncio.sleep(0.01)
