"""The relay breaks a link as it says. Its server echoes what it gets, and keeps it."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from benchmarks.relay import INJECTED_BYTES, LinkFault, Relay

DELAY = 0.2


class Echo:
    """A server that sends back what it gets, for each connection in a thread.

    Attributes:
        port: Where it listens.
        got: What each connection has sent so far, in the order of their accepts.
    """

    def __init__(self) -> None:
        self.got: list[bytearray] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.got.append(bytearray())
                threading.Thread(target=self._serve, args=(connection, self.got[-1]), daemon=True).start()

    @staticmethod
    def _serve(connection: socket.socket, got: bytearray) -> None:
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(1 << 16):
                got += data
                connection.sendall(data)


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def relay(echo: Echo) -> Iterator[Relay]:
    with Relay(echo.port, delay=DELAY) as running:
        yield running


def connect(relay: Relay) -> socket.socket:
    return socket.create_connection(("127.0.0.1", relay.port))


def receive(connection: socket.socket, size: int) -> bytes:
    """The next `size` bytes; fewer if the stream ends."""
    got = b""
    while len(got) < size and (data := connection.recv(size - len(got))):
        got += data
    return got


def echoes(connection: socket.socket, content: bytes = b"hello") -> bool:
    connection.sendall(content)
    return receive(connection, len(content)) == content


def is_silent(connection: socket.socket) -> bool:
    """Whether the connection is open, and nothing has come."""
    connection.setblocking(False)
    try:
        connection.recv(1)
    except BlockingIOError:
        return True
    finally:
        connection.setblocking(True)
    return False


def test_a_healthy_link_forwards_everything_and_the_end_of_the_stream(relay: Relay) -> None:
    content = bytes(range(256)) * 4096
    with connect(relay) as client:
        threading.Thread(target=client.sendall, args=(content,), daemon=True).start()
        assert receive(client, len(content)) == content
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""


def test_a_slow_link_delays_answers_and_keeps_their_order(relay: Relay, echo: Echo) -> None:
    with connect(relay) as client:
        assert echoes(client)
        relay.set(LinkFault.SLOW)
        began = time.monotonic()
        assert echoes(client, b"late")
        assert time.monotonic() - began >= DELAY
        client.sendall(b"first")
        while not echo.got[0].endswith(b"first"):
            pass
        relay.set(None)
        client.sendall(b"second")
        assert receive(client, 11) == b"firstsecond"


def test_a_cut_link_resets_and_refuses_connections_until_it_is_mended(relay: Relay) -> None:
    with connect(relay) as client:
        assert echoes(client)
        relay.set(LinkFault.CUT)
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    with pytest.raises(ConnectionRefusedError):
        connect(relay)
    relay.set(None)
    with connect(relay) as client:
        assert echoes(client)


def test_on_a_half_open_link_bytes_vanish_and_old_connections_stay_dead(relay: Relay, echo: Echo) -> None:
    with connect(relay) as old:
        assert echoes(old)
        relay.set(LinkFault.HALF_OPEN)
        old.sendall(b"lost")
        with connect(relay) as new:
            new.sendall(b"lost too")
            while relay.accepted < 2:
                pass
            relay.set(None)
            with connect(relay) as third:
                assert echoes(third, b"third")
            assert is_silent(new)
        old.sendall(b"still lost")
        assert is_silent(old)
    assert echo.got == [b"hello", b"third"]


def test_wrong_bytes_come_before_the_right_ones_in_both_directions(relay: Relay, echo: Echo) -> None:
    with connect(relay) as client:
        assert echoes(client)
        relay.set(LinkFault.WRONG_BYTES)
        client.sendall(b"world")
        answer = receive(client, 2 * INJECTED_BYTES + 5)
    sent = echo.got[0].removeprefix(b"hello")
    assert len(sent) == INJECTED_BYTES + 5
    assert sent.endswith(b"world")
    assert answer.endswith(sent)
    assert answer[:INJECTED_BYTES] != sent[:INJECTED_BYTES]


def test_a_link_breaks_before_a_piece(relay: Relay, echo: Echo) -> None:
    broken = relay.break_before(2, LinkFault.HALF_OPEN)
    with connect(relay) as client:
        assert echoes(client, b"0123456789")
        assert not broken.is_set()
        client.sendall(b"x")
        assert broken.wait()
        assert is_silent(client)
    assert echo.got == [b"0123456789"]
    assert relay.pieces == 2


def test_a_relay_to_nowhere_resets_connections(echo: Echo) -> None:
    echo.close()
    with Relay(echo.port) as relay, connect(relay) as client, pytest.raises(ConnectionResetError):
        client.recv(1)
