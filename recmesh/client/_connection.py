"""One channel a target, one deadline a call, and retries within it."""

import asyncio
import json
import random
from collections.abc import Iterator
from typing import Any, cast

import grpc
import grpc.aio

from recmesh.client._methods import Method, Request, Response
from recmesh.errors import DeadlineExceeded, InvalidRequest, Overloaded, RecmeshError, Unavailable

# round_robin leaves a draining pod only when it watches health; a server without the health protocol counts as healthy.
_SERVICE_CONFIG = json.dumps(
    {"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}},
)

# gRPC's own retries give up after five attempts, long before a killed process is back: the loop below replaces them.
_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.service_config", _SERVICE_CONFIG),
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # The pods of a service may all be new: the default looks for them every 30 s at most.
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.max_receive_message_length", 16 << 20),
]

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0

_ERRORS: dict[grpc.StatusCode, type[RecmeshError]] = {
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
}


class Connection:
    """A channel to one service. Statuses in `retried` are tried again, with growing pauses, until the deadline."""

    def __init__(self, target: str, retried: frozenset[grpc.StatusCode]) -> None:
        self._target = target
        self._retried = retried
        self._channel = grpc.aio.insecure_channel(target, options=_OPTIONS)
        self._calls: dict[str, Any] = {}

    async def call(self, method: Method[Request, Response], request: Request, timeout: float) -> Response:
        """The answer within `timeout` seconds, all attempts together.

        Raises Unavailable, DeadlineExceeded, Overloaded or InvalidRequest, RecmeshError for any other status.
        """
        attempt = self._calls.get(method.path) or self._prepare(method)
        clock = asyncio.get_running_loop().time
        end = clock() + timeout
        retried: grpc.aio.AioRpcError | None = None
        for pause in _pauses():
            try:
                return cast(Response, await attempt(request, timeout=max(end - clock(), 0.001)))
            except grpc.aio.AioRpcError as error:
                if error.code() not in self._retried:
                    # A deadline that passes between two refusals says less than the refusal.
                    raise self._error(method, retried or error, timeout) from error
                retried = error
            if clock() + pause >= end:
                raise self._error(method, retried, timeout) from retried
            await asyncio.sleep(pause)
        raise AssertionError("the pauses never end")

    async def close(self) -> None:
        """Close the channel; calls in flight are cancelled."""
        await self._channel.close()

    def _prepare(self, method: Method[Request, Response]) -> Any:
        self._calls[method.path] = prepared = self._channel.unary_unary(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )
        return prepared

    def _error(self, method: Method[Any, Any], error: grpc.aio.AioRpcError, timeout: float) -> RecmeshError:
        details = " ".join((error.details() or "").split())
        kind = _ERRORS.get(error.code(), RecmeshError)
        place = f"{method.service} at {self._target}"
        if kind is Unavailable:
            return Unavailable(
                f"{place} did not answer within {timeout:g} s: {details}; is it running, is the target right?"
            )
        if kind is DeadlineExceeded:
            return DeadlineExceeded(
                f"{place} did not answer within {timeout:g} s; allow it more time, or look at its load"
            )
        return kind(f"{place}: {error.code().name}: {details}")


def _pauses() -> Iterator[float]:
    pause = _FIRST_PAUSE
    while True:
        yield pause * random.uniform(0.75, 1.25)
        pause = min(pause * 2, _LONGEST_PAUSE)
