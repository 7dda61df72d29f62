"""gRPC channels of clients and between services: load balancing, reconnection, keepalive, retries and credentials.

Every channel spreads calls over the healthy servers of its target, reconnects within a second and uses no proxy. What
differs between the client library and the services is a parameter of `ChannelPolicy`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import grpc
import grpc.aio

from recmesh.bearer import Token, check_private
from recmesh.contract import DIRECT
from recmesh.errors import (
    DeadlineExceeded,
    InvalidRequest,
    Overloaded,
    PermissionDenied,
    RecmeshError,
    Unauthenticated,
    Unavailable,
)
from recmesh.secure_channels import BlockingSecureChannel, SecureChannel
from recmesh.tls import TlsFiles

__all__ = ["ERRORS", "ChannelPolicy", "RetryPolicy", "open_blocking_channel", "open_channel"]

ERRORS: dict[grpc.StatusCode, type[RecmeshError]] = {
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
}
"""The error that the status of a failed call becomes; callers choose one for every other status."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """gRPC's own retries of UNAVAILABLE. Only calls that no server has accepted are retried.

    Attributes:
        max_attempts: Attempts for each call, the first one included. gRPC allows at most 5.
        initial_backoff: Seconds before the second attempt; gRPC draws the pause at random around it.
        max_backoff: Longest pause in seconds.
        backoff_multiplier: Growth of the pause from one attempt to the next.
    """

    max_attempts: int
    initial_backoff: float
    max_backoff: float
    backoff_multiplier: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelPolicy:
    """What channels of one kind of caller do differently.

    Attributes:
        keepalive_ms: Interval of keepalive pings.
        keepalive_timeout_ms: A connection is dropped if a ping is not answered within this time.
        keepalive_without_calls: Whether pings are sent while no call is in flight.
        min_reconnect_backoff_ms: Shortest time for a connection attempt; None keeps gRPC's default of 20 s.
        resolution_interval_ms: Shortest time between two DNS look-ups. gRPC's default is 30 s, too long to find the
            pods of a service that have all been replaced.
        max_receive_bytes: Largest message that is accepted; None keeps gRPC's default of 4 MiB, -1 sets no limit.
        retries: gRPC's own retries; None switches them off.
    """

    keepalive_ms: int
    keepalive_timeout_ms: int
    keepalive_without_calls: bool = False
    min_reconnect_backoff_ms: int | None = None
    resolution_interval_ms: int
    max_receive_bytes: int | None = None
    retries: RetryPolicy | None = None

    def service_config(self) -> dict[str, object]:
        """The service config (https://github.com/grpc/grpc/blob/master/doc/service_config.md).

        It sets no `timeout`: in Python that fails calls at once, so every call passes its own.
        """
        config: dict[str, object] = {
            "loadBalancingConfig": [{"round_robin": {}}],
            # Without health checks round_robin keeps calling a draining pod. A server without the health protocol
            # counts as healthy.
            "healthCheckConfig": {"serviceName": ""},
        }
        if self.retries is not None:
            # No retryThrottling: gRPC core deducts tokens for failures but, called from Python, never adds them back
            # for successes. Once it throttles, it throttles for ever.
            retry_policy = {
                "maxAttempts": self.retries.max_attempts,
                "initialBackoff": f"{self.retries.initial_backoff:g}s",
                "maxBackoff": f"{self.retries.max_backoff:g}s",
                "backoffMultiplier": self.retries.backoff_multiplier,
                "retryableStatusCodes": ["UNAVAILABLE"],
            }
            config["methodConfig"] = [{"name": [{}], "retryPolicy": retry_policy}]
        return config

    def options(self) -> list[tuple[str, str | int]]:
        """The channel arguments, for `grpc.aio.insecure_channel` and `secure_channel`.

        Example:
            >>> policy = ChannelPolicy(keepalive_ms=30_000, keepalive_timeout_ms=5_000, resolution_interval_ms=1_000)
            >>> dict(policy.options())["grpc.keepalive_time_ms"]
            30000
        """
        options: list[tuple[str, str | int]] = [
            DIRECT,
            ("grpc.service_config", json.dumps(self.service_config())),
            ("grpc.enable_retries", int(self.retries is not None)),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1_000),
            ("grpc.dns_min_time_between_resolutions_ms", self.resolution_interval_ms),
            ("grpc.keepalive_time_ms", self.keepalive_ms),
            ("grpc.keepalive_timeout_ms", self.keepalive_timeout_ms),
            # gRPC waits this long for the answer to any ping, a minute by default, whatever the line above says.
            ("grpc.http2.ping_timeout_ms", self.keepalive_timeout_ms),
        ]
        if self.keepalive_without_calls:
            options.append(("grpc.keepalive_permit_without_calls", 1))
        if self.min_reconnect_backoff_ms is not None:
            options.append(("grpc.min_reconnect_backoff_ms", self.min_reconnect_backoff_ms))
        if self.max_receive_bytes is not None:
            options.append(("grpc.max_receive_message_length", self.max_receive_bytes))
        return options


def open_channel(
    target: str,
    policy: ChannelPolicy,
    *,
    credentials: grpc.ChannelCredentials | None = None,
    tls: TlsFiles | None = None,
    token: Token | None = None,
    interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
) -> grpc.aio.Channel:
    """Open a channel; it connects at the first call.

    Args:
        target: A gRPC target, such as `host:port` or `dns:///host:port`.
        policy: The values that depend on the caller.
        credentials: Of the channel, such as `grpc.ssl_channel_credentials()`. Without them and `tls`: plain text.
        tls: Files for credentials that are renewed when the files change.
        token: Returns the bearer token of each call.
        interceptors: Called for each attempt, the first one outermost.

    Returns:
        A channel that belongs to the running event loop.

    Raises:
        SettingsError: A file of TLS cannot be used, or the token would be sent in plain text.
    """
    options = policy.options()
    if token is not None:
        check_private(target, encrypted=tls is not None or credentials is not None)
        interceptors = (*interceptors, _AddToken(token))
    if tls is not None:
        return SecureChannel(target, tls, options, interceptors)
    if credentials is None:
        return grpc.aio.insecure_channel(target, options=options, interceptors=interceptors)
    return grpc.aio.secure_channel(target, credentials, options=options, interceptors=interceptors)


def open_blocking_channel(
    target: str,
    policy: ChannelPolicy,
    *,
    credentials: grpc.ChannelCredentials | None = None,
    tls: TlsFiles | None = None,
    token: Token | None = None,
    interceptors: Sequence[grpc.UnaryUnaryClientInterceptor] = (),
) -> grpc.Channel:
    """Open a channel for threads instead of asyncio; it connects at the first call.

    Args:
        target: A gRPC target, such as `host:port` or `dns:///host:port`.
        policy: The values that depend on the caller.
        credentials: Of the channel, such as `grpc.ssl_channel_credentials()`. Without them and `tls`: plain text.
        tls: Files for credentials that are renewed when the files change.
        token: Returns the bearer token of each call.
        interceptors: Called for each attempt, the first one outermost.

    Returns:
        A channel that any thread may use.

    Raises:
        SettingsError: A file of TLS cannot be used, or the token would be sent in plain text.
    """
    options = policy.options()
    if token is not None:
        check_private(target, encrypted=tls is not None or credentials is not None)
        interceptors = (*interceptors, _AddTokenBlocking(token))
    channel: grpc.Channel
    if tls is not None:
        channel = BlockingSecureChannel(target, tls, options)
    elif credentials is None:
        channel = grpc.insecure_channel(target, options=options)
    else:
        channel = grpc.secure_channel(target, credentials, options=options)
    return grpc.intercept_channel(channel, *interceptors) if interceptors else channel


class _AddToken(grpc.aio.UnaryUnaryClientInterceptor):
    def __init__(self, token: Token) -> None:
        self._token = token

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        metadata = _with_token(client_call_details.metadata, self._token)
        return await continuation(client_call_details._replace(metadata=grpc.aio.Metadata(*metadata)), request)


class _Details(NamedTuple):
    """What gRPC's `ClientCallDetails` has: gRPC gives it no constructor."""

    method: Any
    timeout: Any
    metadata: Any
    credentials: Any
    wait_for_ready: Any
    compression: Any


class _AddTokenBlocking(grpc.UnaryUnaryClientInterceptor):
    def __init__(self, token: Token) -> None:
        self._token = token

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        given = {name: getattr(client_call_details, name, None) for name in _Details._fields}
        given["metadata"] = _with_token(client_call_details.metadata, self._token)
        return continuation(_Details(**given), request)


def _with_token(metadata: Any, token: Token) -> tuple[tuple[str, Any], ...]:
    return (*(metadata or ()), ("authorization", f"Bearer {token()}"))
