"""gRPC channels to the other services."""

import asyncio
import json
from typing import Any

import grpc

from recmesh.errors import DeadlineExceeded, InvalidRequest, Overloaded, RecmeshError, Unavailable
from recmesh.timeouts import in_time

RECONNECT_WAIT_SECONDS = 0.8
"""If the only pod of a service is replaced, finding the new one takes about a third of this."""

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
    """A channel that spreads calls over the healthy servers of a target.

    It retries calls that no server has accepted, for less than 0.1 s.
    """
    options = [("grpc.service_config", json.dumps(_SERVICE_CONFIG)), *_OPTIONS]
    return grpc.aio.insecure_channel(target, options=options)


class ReconnectWait:
    """Waits for a channel with no live backend to reconnect.

    Concurrent calls share one wait. Once it expires, calls fail immediately until one succeeds: requests must not pile
    up in front of a service that stays unavailable.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """Watch a channel."""
        self._channel = channel
        self._wait: asyncio.Task[bool] | None = None

    def answered(self) -> None:
        """Report that a call succeeded."""
        self._wait = None

    async def reconnected(self, seconds: float) -> bool:
        """Whether the channel has reconnected within `seconds`; False if it was connected all along."""
        if self._channel.get_state() is grpc.ChannelConnectivity.READY:
            return False
        if self._wait is None:
            self._wait = asyncio.create_task(self._reconnect())
        wait = self._wait
        await asyncio.wait([wait], timeout=seconds)
        return wait.done() and wait.result()

    async def _reconnect(self) -> bool:
        try:
            await in_time(RECONNECT_WAIT_SECONDS, self._channel.channel_ready())
        except asyncio.TimeoutError:
            return False
        return True


def as_recmesh_error(stage: str, error: grpc.aio.AioRpcError) -> RecmeshError:
    """The error to raise for a failed call.

    Args:
        stage: Names the called service in the message.
        error: The error that gRPC raised.
    """
    kind = _ERRORS.get(error.code(), Unavailable)
    return kind(f"{stage}: {error.code().name} {error.details()}")
