"""gRPC channels to the other services: one for each target and process."""

import asyncio
import json
from typing import Any

import grpc

from recmesh.errors import DeadlineExceeded, InvalidRequest, Overloaded, RecmeshError, Unavailable
from recmesh.timeouts import in_time

RECONNECT_WAIT_SECONDS = 0.8
"""When the only pod of a service goes, the next one is found in a third of that."""

_SERVICE_CONFIG: dict[str, Any] = {
    "loadBalancingConfig": [{"round_robin": {}}],
    # Without it a client keeps on calling a pod that drains.
    "healthCheckConfig": {"serviceName": ""},
    "methodConfig": [
        {
            # No timeout here: it would fail calls at once in Python. Every call passes its own.
            "name": [{}],
            # No retryThrottling: gRPC counts what fails and not what succeeds; once it throttles, it does for ever.
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.01s",
                "maxBackoff": "0.1s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
}
KEEPALIVE_MS = 10_000
KEEPALIVE_TIMEOUT_MS = 3_000
_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.enable_retries", 1),
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.dns_min_time_between_resolutions_ms", 5_000),
]
_ERRORS: dict[grpc.StatusCode, type[RecmeshError]] = {
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
}


def open_channel(target: str) -> grpc.aio.Channel:
    """A channel that spreads calls over the target's healthy servers and retries, for less than a tenth of a second,
    only what no server took."""
    options = [("grpc.service_config", json.dumps(_SERVICE_CONFIG)), *_OPTIONS]
    return grpc.aio.insecure_channel(target, options=options)


class ReconnectWait:
    """Waits for a channel whose servers have all gone to find another one.

    The wait begins with the first call that finds none and is over for all calls at once: where a service stays away,
    callers must not pile up. After that they are told at once, until one has been answered.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self._search: asyncio.Task[bool] | None = None

    def answered(self) -> None:
        """A call was answered."""
        self._search = None

    async def reconnected(self, seconds: float) -> bool:
        """Whether there is a server again, after a wait of `seconds` at most; False as well where there was one."""
        if self._channel.get_state() is grpc.ChannelConnectivity.READY:
            return False
        if self._search is None:
            self._search = asyncio.create_task(self._found())
        search = self._search
        await asyncio.wait([search], timeout=seconds)
        return search.done() and search.result()

    async def _found(self) -> bool:
        try:
            await in_time(RECONNECT_WAIT_SECONDS, self._channel.channel_ready())
        except asyncio.TimeoutError:
            return False
        return True


def as_recmesh_error(stage: str, error: grpc.aio.AioRpcError) -> RecmeshError:
    """The error that a failed call means to the one who made it."""
    kind = _ERRORS.get(error.code(), Unavailable)
    return kind(f"{stage}: {error.code().name} {error.details()}")
