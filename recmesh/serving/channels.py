"""gRPC channels to the other services: one for each target and process."""

import json
from typing import Any

import grpc

from recmesh.errors import DeadlineExceeded, InvalidRequest, Overloaded, RecmeshError, Unavailable

_SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    # Without it a client keeps on calling a pod that drains.
    "healthCheckConfig": {"serviceName": ""},
    "methodConfig": [
        {
            # No timeout here: it would fail calls at once in Python. Every call passes its own.
            "name": [{}],
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
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
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
    """A channel that spreads calls over the target's healthy servers and retries only what no server took."""
    return grpc.aio.insecure_channel(target, options=_OPTIONS)


def as_recmesh_error(stage: str, error: grpc.aio.AioRpcError) -> RecmeshError:
    """The error that a failed call means to the one who made it."""
    kind = _ERRORS.get(error.code(), Unavailable)
    return kind(f"{stage}: {error.code().name} {error.details()}")
