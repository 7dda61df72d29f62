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
from recmesh.errors import SettingsError
from recmesh.serving.endpoint import Endpoint
from recmesh.serving.guard import Guard
from recmesh.serving.health import Health
from recmesh.serving.http.app import application
from recmesh.serving.settings import ServerSettings

# Gateways usually drop idle connections after a minute. A server that does so earlier loses requests on their way.
_KEEP_ALIVE_SECONDS = 75

log = structlog.get_logger(__name__)


class HttpServer:
    """Serves the methods of an endpoint over HTTP."""

    def __init__(self, endpoint: Endpoint, guard: Guard, health: Health, settings: ServerSettings) -> None:
        """Bind nothing yet.

        Args:
            endpoint: Has an `http_port`.
            guard: Of the endpoint.
            health: Of the endpoint.
            settings: Of the process.
        """
        self._endpoint = endpoint
        self._host = settings.host
        self._place = address(settings.host, endpoint.http_port)
        app = application(endpoint, guard, health, settings.default_timeout, settings.http_origins)
        self._server = _Server(
            uvicorn.Config(
                app,
                http=HttpToolsProtocol,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="error",  # Malformed requests are the business of those who send them.
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=math.ceil(settings.drain_timeout),
            )
        )

    def bind(self) -> None:
        """Bind the port: connections wait until `start`.

        Raises:
            SettingsError: The address cannot be bound.
        """
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        try:
            self._listener = socket.create_server(
                (self._host, self._endpoint.http_port), family=family, dualstack_ipv6=self._host == "::"
            )
        except OSError as error:
            place, variable = self._place, f"RECMESH_{self._endpoint.name.upper()}_HTTP_PORT"
            raise SettingsError(f"{place} cannot be bound: set {variable} to a free port, or RECMESH_HOST") from error

    def start(self) -> None:
        """Answer requests."""
        self._serving = asyncio.create_task(self._server.serve([self._listener]))
        log.info("listening", service=self._endpoint.name, address=f"http://{self._place}")

    async def drain(self) -> None:
        """Accept no connection any more, and wait for the requests in flight."""
        self._server.should_exit = True
        await self._serving


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the process."""
        yield
