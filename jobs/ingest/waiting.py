"""Waiting for what an ingestion needs: at an installation everything starts at once."""

import time
from collections.abc import Callable
from typing import TypeVar

from rich.console import Console

from recmesh.errors import ReleaseError, Unavailable

_LOOK_SECONDS = 2.0

T = TypeVar("T")


class RetryWindow:
    """Tries again what is not there yet, until `seconds` have passed since it was made."""

    def __init__(self, seconds: float, console: Console) -> None:
        self._limit = time.monotonic() + seconds
        self._console = console

    def get(self, what: str, attempt: Callable[[], T]) -> T:
        """The first answer of `attempt`. Raises what it raised last when retry_window ends."""
        said = False
        while True:
            try:
                return attempt()
            except (Unavailable, ReleaseError) as error:
                if time.monotonic() > self._limit:
                    raise
                if not said:
                    self._console.print(f"Waiting for {what}: {error}")
                said = True
            time.sleep(_LOOK_SECONDS)
