"""The HTTP server of an endpoint, on the event loop of its process."""

import asyncio
import math
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from recmesh.contract import address
from recmesh.serving.encryption import Encryption
from recmesh.serving.endpoint import Endpoint
from recmesh.serving.guard import Guard
from recmesh.serving.health import Health
from recmesh.serving.http.app import application
from recmesh.serving.listener import LOOPBACK, MixedListener, listen
from recmesh.serving.peer import Peer
from recmesh.serving.settings import ServerSettings

# Gateways usually drop idle connections after a minute. A server that does so earlier loses requests on their way.
_KEEP_ALIVE_SECONDS = 75

log = structlog.get_logger(__name__)


class HttpServer:
    """Serves the methods of an endpoint over HTTP."""

    def __init__(
        self,
        endpoint: Endpoint,
        guard: Guard,
        health: Health,
        settings: ServerSettings,
        encryption: Encryption | None = None,
    ) -> None:
        """Bind nothing yet.

        Args:
            endpoint: Has an `http_port`.
            guard: Of the endpoint.
            health: Of the endpoint.
            settings: Of the process.
            encryption: None for plain connections.
        """
        self._endpoint = endpoint
        self._host = settings.host
        self._encryption = encryption
        self._mixed: MixedListener | None = None
        self._drain_seconds = math.ceil(settings.drain_timeout)
        self._app = application(endpoint, guard, health, settings.default_timeout, settings.http_origins)
        self._sockets: list[tuple[_Server, socket.socket]] = []

    def bind(self) -> None:
        """Bind the port: connections wait until `start`.

        Raises:
            SettingsError: The address cannot be bound.
        """
        variable = f"RECMESH_{self._endpoint.name.upper()}_HTTP_PORT"
        listening = listen(self._host, self._endpoint.http_port, variable)
        if self._encryption and self._encryption.accept_plain:
            tls, plain = (listen(LOOPBACK, 0, variable) for _ in range(2))
            self._sockets = [(self._server(self._encryption), tls), (self._server(None), plain)]
            self._mixed = MixedListener(listening, tls.getsockname()[1], plain.getsockname()[1])
        else:
            self._sockets = [(self._server(self._encryption), listening)]

    async def start(self) -> None:
        """Answer requests."""
        self._serving = [asyncio.create_task(server.serve([listening])) for server, listening in self._sockets]
        if self._mixed:
            await self._mixed.start()
        scheme, place = "https" if self._encryption else "http", address(self._host, self._endpoint.http_port)
        log.info("listening", service=self._endpoint.name, address=f"{scheme}://{place}")

    async def drain(self) -> None:
        """Accept no connection any more, and wait for the requests in flight."""
        if self._mixed:
            await self._mixed.stop()
        for server, _ in self._sockets:
            server.should_exit = True
        await asyncio.gather(*self._serving)
        if self._mixed:
            await self._mixed.close()

    def _server(self, encryption: Encryption | None) -> "_Server":
        return _Server(
            uvicorn.Config(
                self._app,
                http=_Protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="error",  # Malformed requests are the business of those who send them.
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=self._drain_seconds,
                ssl_context_factory=(lambda _config, _default: encryption.context()) if encryption else None,
            )
        )


class _Protocol(HttpToolsProtocol):
    """Tells the application who is at the other end, as `request.state.peer`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn does
        """Look at the certificate once for each connection."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, "peer": Peer.of_socket(transport.get_extra_info("ssl_object"))}


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the process."""
        yield
