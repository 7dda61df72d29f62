"""A TCP proxy that stops forwarding after some requests, for killing a process at a known point of its work."""

import contextlib
import socket
import threading


class StallingProxy:
    """Forwards connections to a port until clients have sent `stall_before - 1` pieces, then nothing more.

    A piece is what the proxy receives at once: a short request, or up to 64 KiB of a long one.

    Attributes:
        port: The port of the proxy.
        pieces: How many pieces clients have sent.
        stalled: Set once the proxy has stopped forwarding.
    """

    def __init__(self, target_port: int, stall_before: int = 0) -> None:
        """Listen on a free port.

        Args:
            target_port: The port to forward to.
            stall_before: The first piece not to forward, from 1; 0 to forward everything.
        """
        self.pieces = 0
        self.stalled = threading.Event()
        self._target, self._stall_before = target_port, stall_before
        self._lock = threading.Lock()
        self._server = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = [self._server]
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> "StallingProxy":
        return self

    def __exit__(self, *_: object) -> None:
        for opened in self._sockets:
            with contextlib.suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
            opened.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                self._sockets += [client, server]
                threading.Thread(target=self._forward, args=(client, server, True), daemon=True).start()
                threading.Thread(target=self._forward, args=(server, client, False), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if counted:
                    self._count()
                if self.stalled.is_set():
                    return
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def _count(self) -> None:
        with self._lock:
            self.pieces += 1
            if self.pieces == self._stall_before:
                self.stalled.set()
