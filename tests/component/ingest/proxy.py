"""A TCP proxy that stops forwarding after some bytes, for killing a process at a known point of its work."""

import contextlib
import socket
import threading


class StallingProxy:
    """Forwards connections to a port until clients have sent `stall_after` bytes, then nothing more.

    Attributes:
        port: The port of the proxy.
        stalled: Set once the proxy has stopped forwarding.
    """

    def __init__(self, target_port: int, stall_after: int) -> None:
        self.stalled = threading.Event()
        self._target, self._left = target_port, stall_after
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
            while (data := source.recv(1 << 16)) and not self.stalled.is_set():
                if counted:
                    self._count(len(data))
                sink.sendall(data)
            if not self.stalled.is_set():
                sink.shutdown(socket.SHUT_WR)

    def _count(self, size: int) -> None:
        with self._lock:
            self._left -= size
            if self._left < 0:
                self.stalled.set()
