"""Waiting for what a server does in its own time."""

import time
from collections.abc import Callable


def eventually(holds: Callable[[], bool], what: Callable[[], object], seconds: float = 60) -> None:
    """Poll until something holds; fail with `what` after a generous time."""
    limit = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < limit, what()
        time.sleep(0.01)
