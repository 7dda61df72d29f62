"""Listening sockets, and a listener that takes TLS and plain connections on one port."""

import asyncio
import socket
from contextlib import suppress

from recmesh.contract import address
from recmesh.errors import SettingsError

LOOPBACK = "127.0.0.1"
TLS_HANDSHAKE = b"\x16"
"""The first byte of a TLS connection: a record of type handshake (RFC 8446, section 5.1)."""

_CHUNK_BYTES = 64 << 10


def listen(host: str, port: int, setting: str) -> socket.socket:
    """Bind a port: connections wait until somebody accepts them.

    Args:
        host: Address; `::` means all addresses, of IPv4 as well.
        port: 0 means any free port.
        setting: Names the port in the error.

    Raises:
        SettingsError: The address cannot be bound.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        if host == "::" and not socket.has_dualstack_ipv6():
            host, family = "0.0.0.0", socket.AF_INET  # noqa: S104 - what `::` means without IPv6
        return socket.create_server((host, port), family=family, dualstack_ipv6=host == "::")
    except OSError as error:
        raise unbindable(host, port, setting) from error


def unbindable(host: str, port: int, setting: str) -> SettingsError:
    """The error for a port that cannot be bound."""
    return SettingsError(f"{address(host, port)} cannot be bound: set {setting} to a free port, or RECMESH_HOST")


class MixedListener:
    """Accepts connections and passes them on: those with TLS to one port of this process, all others to another.

    It is for the time in which the clients of an installation change to TLS, and costs a copy of every byte.
    """

    def __init__(self, listening: socket.socket, tls_port: int, plain_port: int) -> None:
        """Accept nothing yet.

        Args:
            listening: See `listen`.
            tls_port: On loopback.
            plain_port: On loopback.
        """
        self._listening = listening
        self._ports = {True: tls_port, False: plain_port}
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Accept connections."""
        self._server = await asyncio.start_server(self._accepted, sock=self._listening, limit=_CHUNK_BYTES)

    async def stop(self) -> None:
        """Accept no connection any more. Those that are open go on."""
        self._server.close()

    async def close(self) -> None:
        """Close all connections."""
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        inner: asyncio.StreamWriter | None = None
        with suppress(OSError):
            try:
                first = await reader.read(_CHUNK_BYTES)
                port = self._ports[first[:1] == TLS_HANDSHAKE]
                back, inner = await asyncio.open_connection(LOOPBACK, port, limit=_CHUNK_BYTES)
                inner.write(first)
                copies = [asyncio.create_task(_copy(reader, inner)), asyncio.create_task(_copy(back, writer))]
                try:
                    await asyncio.wait(copies)
                finally:
                    for copy in copies:
                        copy.cancel()
            finally:
                for end in filter(None, (writer, inner)):
                    end.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(_CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
        writer.write_eof() if writer.can_write_eof() else writer.close()
