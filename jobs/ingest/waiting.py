"""Waiting for the prerequisites of an ingestion: all parts of a new installation start at once."""

import time
from collections.abc import Callable
from typing import TypeVar

from recmesh import spans
from recmesh.errors import ReleaseError, Unavailable
from recmesh.progress import Reporter
from recmesh.throttle import LogThrottle

POLL_INTERVAL_SECONDS = 2.0

T = TypeVar("T")


class RetryWindow:
    """A period during which prerequisites may be missing.

    Args:
        seconds: Length of the period, from now on. It is shared by everything that is waited for.
        reporter: Told what is missing, at once and then with growing pauses.
    """

    def __init__(self, seconds: float, reporter: Reporter) -> None:
        self._limit = time.monotonic() + seconds
        self._reporter = reporter
        self._faults = LogThrottle()

    def get(self, what: str, attempt: Callable[[], T]) -> T:
        """Call `attempt` until it succeeds.

        Returns:
            The result of the first successful call.

        Raises:
            Unavailable: The period ended and the last call raised this.
            ReleaseError: The period ended and the last call raised this. Other errors of `attempt` are raised at once.
        """
        with spans.span(f"waiting for {what}"):
            return self._got(what, attempt)

    def _got(self, what: str, attempt: Callable[[], T]) -> T:
        while True:
            try:
                found = attempt()
            except (Unavailable, ReleaseError) as error:
                if time.monotonic() > self._limit:
                    raise
                if line := self._faults.due(what, str(error)):
                    waited = f" for {line.seconds:.0f} s" if line.seconds else ""
                    self._reporter.say(f"Waiting for {what}{waited}: {error}")
                time.sleep(POLL_INTERVAL_SECONDS)
            else:
                if line := self._faults.over(what):
                    self._reporter.say(f"Waiting for {what} is over after {line.seconds:.0f} s")
                return found
