"""A TCP relay between the two ends of a link on this machine, which breaks the link on demand.

toxiproxy does much of this, but is a server to install, and cannot put wrong bytes into a stream.
"""

import asyncio
import contextlib
import enum
import random
import socket
import struct
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, TypeVar

from local import ports

T = TypeVar("T")

INJECTED_BYTES = 64
"""Random bytes before each chunk of a stream with wrong bytes."""

_CHUNK_BYTES = 1 << 16
# A connection that is closed with this option is reset.
_RESET = struct.pack("ii", 1, 0)
# Chunks that wait for their time, in each direction of a connection.
_MAX_DELAYED = 256


class LinkFault(enum.Enum):
    """What can be wrong with a link.

    Attributes:
        SLOW: What the server sends arrives later.
        CUT: Connections are reset, and new ones are refused.
        HALF_OPEN: Bytes vanish in both directions, and nobody is told. A connection stays so when the fault ends, as
            if the other end had forgotten it; new ones work.
        WRONG_BYTES: Random bytes are put into both directions.
    """

    SLOW = "slow"
    CUT = "cut"
    HALF_OPEN = "half-open"
    WRONG_BYTES = "wrong bytes"


@dataclass(eq=False)
class _Connection:
    """A connection of a client, and the one to the server that it is relayed to."""

    client: asyncio.StreamWriter
    is_half_open: bool
    server: asyncio.StreamWriter | None = None
    tasks: list["asyncio.Task[None]"] = field(default_factory=list)

    def reset(self) -> None:
        for writer in (self.client, self.server):
            if writer is not None and not writer.transport.is_closing():
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                writer.transport.abort()


class Relay:
    """Forwards connections from a port of its own to `target_port`, both on 127.0.0.1, in a thread of its own.

    Args:
        target_port: The server.
        delay: Seconds by which a slow link delays what the server sends.

    Attributes:
        port: Where clients connect.
        accepted: Number of connections so far.
        pieces: Number of pieces that clients have sent. A piece is what arrives at once: a short request, or up to
            64 KiB of a long one.

    Example:
        with Relay(6389) as relay:
            client = redis.Redis(port=relay.port)
            relay.set(LinkFault.CUT)
            relay.set(None)
    """

    def __init__(self, target_port: int, *, delay: float = 0.3) -> None:
        self.port = ports.free_ports(1)[0]
        self.accepted = 0
        self.pieces = 0
        self._target_port = target_port
        self._delay = delay
        self._fault: LinkFault | None = None
        self._random = random.Random(1)
        self._connections: set[_Connection] = set()
        self._listener: asyncio.Server | None = None
        self._break: tuple[int, LinkFault, threading.Event] | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"relay {self.port}", daemon=True)

    def __enter__(self) -> "Relay":
        self._held = ports.hold(self.port)  # nobody else gets the port while the link is cut
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._held.close()

    def set(self, fault: LinkFault | None) -> None:
        """Break the link, or let new connections work again (None). It is so when the call returns."""
        self._run(self._set(fault))

    def break_before(self, piece: int, fault: LinkFault) -> threading.Event:
        """Break the link before this piece is forwarded, the first of all being 1. The event is set then."""
        broken = threading.Event()
        self._break = (piece, fault, broken)
        return broken

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _listen(self) -> None:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self.port, reuse_address=True)

    async def _close(self) -> None:
        await self._set(LinkFault.CUT)
        tasks = [task for connection in self._connections for task in connection.tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _set(self, fault: LinkFault | None) -> None:
        self._fault = fault
        if fault is LinkFault.CUT and self._listener is not None:
            self._listener.close()
            self._listener = None
        elif fault is not LinkFault.CUT and self._listener is None:
            await self._listen()
        for connection in self._connections:
            if fault is LinkFault.CUT:
                connection.reset()
            connection.is_half_open |= fault is LinkFault.HALF_OPEN

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connection = _Connection(writer, self._fault is LinkFault.HALF_OPEN, tasks=[task])
        self._connections.add(connection)
        self.accepted += 1
        try:
            await self._relay(connection, reader)
        except (OSError, asyncio.CancelledError):  # at the end of the relay nobody awaits this task
            pass
        finally:
            connection.reset()
            self._connections.discard(connection)

    async def _relay(self, connection: _Connection, reader: asyncio.StreamReader) -> None:
        if self._fault is LinkFault.CUT:  # accepted before the listener was closed
            return
        if connection.is_half_open:
            while await reader.read(_CHUNK_BYTES):
                pass
            return
        answers, connection.server = await asyncio.open_connection("127.0.0.1", self._target_port)
        await _together(
            connection,
            self._forward(connection, reader, connection.server, is_answer=False),
            self._forward(connection, answers, connection.client, is_answer=True),
        )

    async def _forward(
        self, connection: _Connection, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_answer: bool
    ) -> None:
        """Forward one direction until its end, through a queue of chunks and the times when they are due."""
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_MAX_DELAYED)
        await _together(connection, self._read(source, queue, is_answer), self._write(connection, queue, sink))

    async def _read(
        self, source: asyncio.StreamReader, queue: "asyncio.Queue[tuple[float, bytes]]", is_answer: bool
    ) -> None:
        while data := await source.read(_CHUNK_BYTES):
            if not is_answer:
                await self._count()
            if self._fault is LinkFault.WRONG_BYTES:
                data = self._random.randbytes(INJECTED_BYTES) + data
            is_slow = is_answer and self._fault is LinkFault.SLOW
            await queue.put((self._loop.time() + self._delay * is_slow, data))
        await queue.put((self._loop.time(), b""))

    async def _write(
        self, connection: _Connection, queue: "asyncio.Queue[tuple[float, bytes]]", sink: asyncio.StreamWriter
    ) -> None:
        while True:
            due, data = await queue.get()
            if (wait := due - self._loop.time()) > 0:
                await asyncio.sleep(wait)
            if data and not connection.is_half_open:
                sink.write(data)
                await sink.drain()
            elif not data:
                break
        if not connection.is_half_open and sink.can_write_eof():
            sink.write_eof()

    async def _count(self) -> None:
        self.pieces += 1
        if self._break and self._break[0] == self.pieces:
            _, fault, broken = self._break
            await self._set(fault)
            broken.set()


async def _together(connection: _Connection, *coroutines: Coroutine[Any, Any, None]) -> None:
    """Run coroutines until all have returned or one has failed."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    connection.tasks += tasks
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(OSError):
            await asyncio.gather(*tasks, return_exceptions=True)
