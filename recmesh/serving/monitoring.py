"""The monitoring port: metrics for Prometheus, and the probes of Kubernetes.

With TLS, anybody may ask for `/livez` and `/readyz`, which say nothing but yes or no: the kubelet has no certificate.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from socketserver import ThreadingMixIn
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import make_wsgi_app

from recmesh.errors import RecmeshError, Unauthenticated
from recmesh.serving.encryption import Encryption
from recmesh.serving.listener import TLS_HANDSHAKE, listen
from recmesh.serving.peer import Peer

_TIMEOUT_SECONDS = 10.0
_LIVE_SECONDS = 2.0
_PEER = "recmesh.peer"
_PLAIN = ("Content-Type", "text/plain; charset=utf-8")


class Monitoring:
    """Answers on the monitoring port from threads, so that a busy event loop does not delay scrapes."""

    def __init__(
        self,
        host: str,
        port: int,
        encryption: Encryption | None,
        check: Callable[[Peer], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """Start to answer.

        Args:
            host: Address to bind.
            port: 0 means any free port.
            encryption: None for plain connections.
            check: Raises Unauthenticated or PermissionDenied for callers who may not read the metrics.
            loop: Of the services: the process is alive while it runs callbacks.

        Raises:
            SettingsError: The port cannot be bound.
        """
        self.ready: Callable[[], bool] = lambda: False
        self._loop = loop
        self._check = check
        self._metrics = make_wsgi_app()
        self._server = _Server(listen(host, port, "RECMESH_METRICS_PORT"), encryption)
        self._server.set_app(self._answer)
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop the threads and close the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, environment: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path = environment["PATH_INFO"]
        if path == "/livez":
            return _yes_or_no(self._alive(), start)
        if path == "/readyz":
            return _yes_or_no(self.ready(), start)
        try:
            self._check(environment[_PEER])
        except RecmeshError as error:
            unknown = isinstance(error, Unauthenticated)
            start(
                "401 Unauthorized" if unknown else "403 Forbidden",
                [_PLAIN, ("WWW-Authenticate", "Bearer")] if unknown else [_PLAIN],
            )
            return [f"{error}\n".encode()]
        answer: Iterable[bytes] = self._metrics(environment, start)
        return answer

    def _alive(self) -> bool:
        ran: Future[None] = Future()
        self._loop.call_soon_threadsafe(ran.set_result, None)
        with contextlib.suppress(TimeoutError):
            ran.result(_LIVE_SECONDS)
            return True
        return False


def _yes_or_no(yes: bool, start: Callable[..., Any]) -> list[bytes]:
    start("200 OK" if yes else "503 Service Unavailable", [_PLAIN])
    return [b"ok\n" if yes else b"not ready\n"]


class _Handler(WSGIRequestHandler):
    timeout = _TIMEOUT_SECONDS

    def get_environ(self) -> dict[str, Any]:
        """Add who calls."""
        authorization = self.headers.get("authorization", "")
        token = authorization.partition(" ")[2] if authorization.lower().startswith("bearer ") else ""
        return {**super().get_environ(), _PEER: Peer.of_socket(self.connection, token)}

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: scrapes are no events."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def __init__(self, listening: socket.socket, encryption: Encryption | None) -> None:
        super().__init__(listening.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.server_name, self.server_port = str(listening.getsockname()[0]), listening.getsockname()[1]
        self.setup_environ()
        self._context = encryption.context(optional=True) if encryption else None
        self._accept_plain = encryption is not None and encryption.accept_plain

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Make the handshake in the thread of the connection: a client that is slow delays nobody else."""
        request.settimeout(_TIMEOUT_SECONDS)
        if self._context and not (self._accept_plain and request.recv(1, socket.MSG_PEEK) != TLS_HANDSHAKE):
            request = self._context.wrap_socket(request, server_side=True)
        with contextlib.closing(request):
            _Handler(request, client_address, self)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that fail the handshake or go away."""
