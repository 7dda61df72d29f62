"""Waiting for the prerequisites of an ingestion: all parts of a new installation start at once."""

import time
from collections.abc import Callable
from typing import TypeVar

from recmesh.errors import ReleaseError, Unavailable
from recmesh.progress import Reporter

POLL_INTERVAL_SECONDS = 2.0

T = TypeVar("T")


class RetryWindow:
    """A period during which prerequisites may be missing.

    Args:
        seconds: Length of the period, from now on. It is shared by everything that is waited for.
        reporter: Told once for each prerequisite that is missing.
    """

    def __init__(self, seconds: float, reporter: Reporter) -> None:
        self._limit = time.monotonic() + seconds
        self._reporter = reporter

    def get(self, what: str, attempt: Callable[[], T]) -> T:
        """Call `attempt` until it succeeds.

        Returns:
            The result of the first successful call.

        Raises:
            Unavailable: The period ended and the last call raised this.
            ReleaseError: The period ended and the last call raised this. Other errors of `attempt` are raised at once.
        """
        said = False
        while True:
            try:
                return attempt()
            except (Unavailable, ReleaseError) as error:
                if time.monotonic() > self._limit:
                    raise
                if not said:
                    self._reporter.say(f"Waiting for {what}: {error}")
                said = True
            time.sleep(POLL_INTERVAL_SECONDS)
