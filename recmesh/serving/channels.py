"""gRPC channels to the other services."""

import asyncio

import grpc

from recmesh import channels
from recmesh.bearer import token_of
from recmesh.contract import KEEPALIVE_MS, KEEPALIVE_TIMEOUT_MS
from recmesh.errors import RecmeshError, Unavailable
from recmesh.timeouts import in_time
from recmesh.tls import TlsFiles

RECONNECT_WAIT_SECONDS = 0.8
"""If the only pod of a service is replaced, finding the new one takes about a third of this."""

_POLICY = channels.ChannelPolicy(
    keepalive_ms=KEEPALIVE_MS,
    keepalive_timeout_ms=KEEPALIVE_TIMEOUT_MS,
    keepalive_without_calls=True,
    min_reconnect_backoff_ms=500,
    resolution_interval_ms=5_000,
    max_receive_bytes=-1,  # Unlimited: an answer of cm is as large as the texts of its items.
    retries=channels.RetryPolicy(max_attempts=3, initial_backoff=0.01, max_backoff=0.1, backoff_multiplier=3),
)


def open_channel(target: str, tls: TlsFiles | None = None) -> grpc.aio.Channel:
    """A channel that spreads calls over the healthy servers of a target.

    It retries calls that no server has accepted, for less than 0.1 s. It sends the token of this process, if there is
    one.

    Args:
        target: A gRPC target.
        tls: Files for TLS; None means plain text.
    """
    return channels.open_channel(target, _POLICY, tls=tls, token=token_of())


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
    kind = channels.ERRORS.get(error.code(), Unavailable)
    return kind(f"{stage}: {error.code().name} {error.details()}")
