"""gRPC channels over TLS that reconnect with new certificates when the files change.

gRPC's Python API reads the credentials of a channel once. These channels therefore open another one when the files have
changed. Calls in flight end on the old one.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import grpc
import grpc.aio

from recmesh.tls import Pem, TlsFiles, TlsReader

Options: TypeAlias = Sequence[tuple[str, str | int]]
"""Channel arguments."""

_GRACE_SECONDS = 60.0


def credentials_of(pem: Pem) -> grpc.ChannelCredentials:
    """Return gRPC's credentials for a client."""
    return grpc.ssl_channel_credentials(pem.ca, pem.key or None, pem.certificate or None)


def _with_name(options: Options, files: TlsFiles) -> Options:
    """Channel arguments, with the name in the server's certificate if it is not that of the target."""
    return [*options, ("grpc.ssl_target_name_override", files.server_name)] if files.server_name else options


class _Method:
    """A method of whatever channel is the current one, in the form of gRPC's multi-callables."""

    def __init__(
        self, current: Callable[[], Any], kind: str, arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> None:
        self._current = current
        self._kind, self._arguments, self._options = kind, arguments, options
        self._channel: Any = None
        self._callable: Any = None

    def _latest(self) -> Any:
        channel = self._current()
        if channel is not self._channel:
            self._callable = getattr(channel, self._kind)(*self._arguments, **self._options)
            self._channel = channel
        return self._callable

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self._latest()(*args, **options)

    def with_call(self, *args: Any, **options: Any) -> Any:
        return self._latest().with_call(*args, **options)

    def future(self, *args: Any, **options: Any) -> Any:
        return self._latest().future(*args, **options)


class _Methods:
    """The methods of whatever channel is the current one."""

    current: Callable[[], Any]

    def unary_unary(self, *args: Any, **options: Any) -> Any:
        """Return a method. See `grpc.Channel`."""
        return _Method(self.current, "unary_unary", args, options)

    def unary_stream(self, *args: Any, **options: Any) -> Any:
        """Return a method. See `grpc.Channel`."""
        return _Method(self.current, "unary_stream", args, options)

    def stream_unary(self, *args: Any, **options: Any) -> Any:
        """Return a method. See `grpc.Channel`."""
        return _Method(self.current, "stream_unary", args, options)

    def stream_stream(self, *args: Any, **options: Any) -> Any:
        """Return a method. See `grpc.Channel`."""
        return _Method(self.current, "stream_stream", args, options)


class SecureChannel(_Methods, grpc.aio.Channel):
    """A channel for asyncio."""

    def __init__(
        self,
        target: str,
        files: TlsFiles,
        options: Options = (),
        interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
    ) -> None:
        """Open the first channel.

        Args:
            target: A gRPC target.
            files: With the trusted authorities and, for mutual TLS, a certificate.
            options: Channel arguments.
            interceptors: See `grpc.aio.secure_channel`.

        Raises:
            SettingsError: See `TlsReader`.
        """
        self._reader = TlsReader(files)
        self._target, self._options, self._interceptors = target, _with_name(options, files), interceptors
        self._pem = self._reader.current()
        self._channel = self._open(self._pem)
        self._closing: set[asyncio.Task[None]] = set()

    def current(self) -> grpc.aio.Channel:
        """Return the channel with the current certificates."""
        pem = self._reader.current()
        if pem is not self._pem:
            closing = asyncio.create_task(self._channel.close(_GRACE_SECONDS))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
            self._pem, self._channel = pem, self._open(pem)
        return self._channel

    def _open(self, pem: Pem) -> grpc.aio.Channel:
        credentials = credentials_of(pem)
        return grpc.aio.secure_channel(
            self._target, credentials, options=self._options, interceptors=self._interceptors
        )

    async def __aenter__(self) -> "SecureChannel":
        """Return the channel."""
        return self

    async def __aexit__(self, exc_type: Any, exc_val: Any, exc_tb: Any) -> None:
        """Close the channel."""
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        """Close the channel. See `grpc.aio.Channel`."""
        for closing in self._closing:
            closing.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        await self._channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Return the state of the current channel. See `grpc.aio.Channel`."""
        return self.current().get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait for a change of the current channel. See `grpc.aio.Channel`."""
        await self.current().wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until the current channel is connected. See `grpc.aio.Channel`."""
        await self.current().channel_ready()


class BlockingSecureChannel(_Methods, grpc.Channel):
    """A channel for threads."""

    def __init__(self, target: str, files: TlsFiles, options: Options = ()) -> None:
        """Open the first channel. See `SecureChannel`."""
        self._reader = TlsReader(files)
        self._target, self._options = target, _with_name(options, files)
        self._lock = threading.Lock()
        self._pem = self._reader.current()
        self._channel = self._open(self._pem)
        self._former: list[tuple[grpc.Channel, threading.Timer]] = []

    def current(self) -> grpc.Channel:
        """Return the channel with the current certificates."""
        if self._reader.current() is not self._pem:
            with self._lock:
                pem = self._reader.current()  # Another thread may have gone on to it, or to a later one.
                if pem is not self._pem:
                    # Closing a channel would end its calls.
                    timer = threading.Timer(_GRACE_SECONDS, self._channel.close)
                    timer.daemon = True
                    timer.start()
                    self._former = [(former, other) for former, other in self._former if other.is_alive()]
                    self._former.append((self._channel, timer))
                    self._pem, self._channel = pem, self._open(pem)
        return self._channel

    def _open(self, pem: Pem) -> grpc.Channel:
        return grpc.secure_channel(self._target, credentials_of(pem), options=self._options)

    def __enter__(self) -> "BlockingSecureChannel":
        """Return the channel."""
        return self

    def __exit__(self, exc_type: Any, exc_val: Any, exc_tb: Any) -> None:
        """Close the channel."""
        self.close()

    def close(self) -> None:
        """Close the channel; calls in flight are cancelled."""
        with self._lock:
            for channel, timer in self._former:
                timer.cancel()
                channel.close()
            self._channel.close()

    def subscribe(
        self, callback: Callable[[grpc.ChannelConnectivity], None], try_to_connect: bool | None = False
    ) -> None:
        """Watch the current channel. See `grpc.Channel`."""
        self.current().subscribe(callback, bool(try_to_connect))

    def unsubscribe(self, callback: Callable[[grpc.ChannelConnectivity], None]) -> None:
        """Stop watching. See `grpc.Channel`."""
        for channel in (*(former for former, _ in self._former), self._channel):
            channel.unsubscribe(callback)
