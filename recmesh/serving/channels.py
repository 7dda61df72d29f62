"""gRPC channels to the other services: one for each target and process."""

import json
from typing import Any

import grpc

from recmesh.errors import DeadlineExceeded, InvalidRequest, Overloaded, RecmeshError, Unavailable

# Five attempts last .8 s: when the only pod goes, the next one is found in a third of that.
_PATIENT, _IMPATIENT = (5, "0.02s"), (3, "0.01s")


def _service_config(attempts: int, backoff: str) -> dict[str, Any]:
    return {
        "loadBalancingConfig": [{"round_robin": {}}],
        # Without it a client keeps on calling a pod that drains.
        "healthCheckConfig": {"serviceName": ""},
        "methodConfig": [
            {
                # No timeout here: it would fail calls at once in Python. Every call passes its own.
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": attempts,
                    "initialBackoff": backoff,
                    "maxBackoff": "0.6s",
                    "backoffMultiplier": 3,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ],
        # Of a server that stays away: after 500 attempts in vain calls fail at once, until it has answered again.
        "retryThrottling": {"maxTokens": 1000, "tokenRatio": 1},
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


def open_channel(target: str, *, patient: bool = True) -> grpc.aio.Channel:
    """A channel that spreads calls over the target's healthy servers and retries only what no server took: for as long
    as another server may take to be found, or if not `patient`, less than a tenth of a second."""
    config = json.dumps(_service_config(*(_PATIENT if patient else _IMPATIENT)))
    return grpc.aio.insecure_channel(target, options=[("grpc.service_config", config), *_OPTIONS])


def as_recmesh_error(stage: str, error: grpc.aio.AioRpcError) -> RecmeshError:
    """The error that a failed call means to the one who made it."""
    kind = _ERRORS.get(error.code(), Unavailable)
    return kind(f"{stage}: {error.code().name} {error.details()}")
