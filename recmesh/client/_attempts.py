"""When a failed call is tried again, and which error it becomes otherwise."""

import random
import time
from collections.abc import Iterator

import grpc

from recmesh.channels import ERRORS, ChannelPolicy
from recmesh.client._methods import Method, Request, Response
from recmesh.contract import BATCH, PRIORITY
from recmesh.errors import DeadlineExceeded, PermissionDenied, RecmeshError, Unauthenticated, Unavailable

# gRPC's own retries give up after five attempts, long before a restarted process answers: `Attempts` replaces them.
POLICY = ChannelPolicy(
    keepalive_ms=30_000,
    keepalive_timeout_ms=5_000,
    resolution_interval_ms=1_000,
    max_receive_bytes=-1,  # An answer is as large as the texts of its items.
)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
_SHORTEST_ATTEMPT = 0.001
_ADVICE: dict[type[RecmeshError], str] = {
    Unauthenticated: "; set RECMESH_TOKEN or RECMESH_TOKEN_FILE, or RECMESH_TLS_CERTIFICATE and RECMESH_TLS_KEY",
    PermissionDenied: "; ask who runs the service to allow it (docs/callers.md)",
}
_BATCH_METADATA = ((PRIORITY, BATCH),)


def retried_statuses(retry_overload: bool) -> frozenset[grpc.StatusCode]:
    """The statuses after which a call is tried again."""
    overload = {grpc.StatusCode.RESOURCE_EXHAUSTED} if retry_overload else set()
    return frozenset({grpc.StatusCode.UNAVAILABLE} | overload)


class Attempts:
    """The attempts of one call. They share one deadline.

    Args:
        method: The method that is called.
        target: The target that is called, for messages.
        retried: Statuses after which the call is tried again.
        timeout: Seconds for all attempts.
    """

    def __init__(
        self, method: Method[Request, Response], target: str, retried: frozenset[grpc.StatusCode], timeout: float
    ) -> None:
        self._place = f"{method.service} at {target}"
        self._retried = retried
        self._timeout = timeout
        self._end = time.monotonic() + timeout
        self._pauses = _pauses()
        self._last: grpc.Call | None = None

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Metadata of each attempt. A call that is tried again after a refusal can wait, and says so."""
        return _BATCH_METADATA if grpc.StatusCode.RESOURCE_EXHAUSTED in self._retried else ()

    def remaining(self) -> float:
        """Seconds left for the next attempt."""
        return max(self._end - time.monotonic(), _SHORTEST_ATTEMPT)

    def pause(self, error: grpc.Call) -> float:
        """The seconds to wait after a failed attempt before the next one.

        Raises:
            RecmeshError: The call is not tried again; the class of the error says why it failed.
        """
        if error.code() not in self._retried:
            # If the deadline passes in an attempt after a refused one, the refusal says more.
            raise self._error(self._last or error)
        self._last = error
        pause = next(self._pauses)
        if time.monotonic() + pause >= self._end:
            raise self._error(error)
        return pause

    def _error(self, error: grpc.Call) -> RecmeshError:
        details = " ".join((error.details() or "").split())
        kind = ERRORS.get(error.code(), RecmeshError)
        if kind is Unavailable:
            return Unavailable(
                f"{self._place} did not answer within {self._timeout:g} s: {details}; "
                "is it running, is the target right?"
            )
        if kind is DeadlineExceeded:
            return DeadlineExceeded(
                f"{self._place} did not answer within {self._timeout:g} s; allow it more time, or look at its load"
            )
        return kind(f"{self._place}: {error.code().name}: {details}{_ADVICE.get(kind, '')}")


def _pauses() -> Iterator[float]:
    pause = _FIRST_PAUSE
    while True:
        yield pause * random.uniform(0.75, 1.25)
        pause = min(pause * 2, _LONGEST_PAUSE)
