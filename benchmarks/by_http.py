"""Calls over HTTP and JSON, with a client that needs little CPU time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from google.protobuf import json_format
from google.protobuf.message import Message

_MAX_HEADER_BYTES = 1 << 16


class HttpError(Exception):
    """An answer with a status other than 200. The message is `HTTP <status>`."""


class HttpClient:
    """Posts JSON to one path over connections that stay open."""

    def __init__(self, target: str, path: str) -> None:
        """Open no connection yet. `target` is `host:port`."""
        self._host, _, port = target.rpartition(":")
        self._port = int(port)
        self._head = f"POST {path} HTTP/1.1\r\nhost: {target}\r\ncontent-type: application/json\r\n".encode()
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def call(self, body: bytes, timeout: float) -> bytes:
        """The body of the answer.

        Raises:
            HttpError: The status is not 200.
        """
        reader, writer = self._idle.pop() if self._idle else await self._open()
        length = f"connect-timeout-ms: {timeout * 1000:.0f}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
        writer.write(self._head + length + body)
        head = await reader.readuntil(b"\r\n\r\n")
        fields = head.lower().split(b"\r\n")
        size = next(int(field.partition(b":")[2]) for field in fields if field.startswith(b"content-length:"))
        content = await reader.readexactly(size)
        self._idle.append((reader, writer))
        status = head.split(maxsplit=2)[1].decode()
        if status != "200":
            raise HttpError(f"HTTP {status}")
        return content

    def close(self) -> None:
        """Close the connections."""
        for _, writer in self._idle:
            writer.close()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self._host.strip("[]"), self._port, limit=_MAX_HEADER_BYTES)


@asynccontextmanager
async def open_client(target: str, path: str) -> AsyncIterator[HttpClient]:
    """A client for one path of a service during the block."""
    client = HttpClient(target, path)
    try:
        yield client
    finally:
        client.close()


def to_json(message: Message) -> bytes:
    """A message as JSON, in the form in which the services answer."""
    return json_format.MessageToJson(message, indent=None, ensure_ascii=False).encode()
