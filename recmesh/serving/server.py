"""The lifecycle of a service process: settings, logs, metrics, ports, health, and a graceful shutdown at SIGTERM."""

import asyncio
import random
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, TypeVar

import grpc
import structlog
import uvloop
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from recmesh.callers import METRICS
from recmesh.contract import (
    KEEPALIVE_MS,
    KEEPALIVE_TIMEOUT_MS,
    MAX_STAGE_REQUEST_BYTES,
    address,
)
from recmesh.errors import RecmeshError
from recmesh.serving import logs
from recmesh.serving.audit import Audit
from recmesh.serving.callers import Callers
from recmesh.serving.encryption import Encryption
from recmesh.serving.endpoint import Endpoint
from recmesh.serving.guard import Guard
from recmesh.serving.health import Health
from recmesh.serving.interceptor import Interceptor
from recmesh.serving.listener import LOOPBACK, MixedListener, listen, unbindable
from recmesh.serving.load import Congestion, Load, keep_adapting
from recmesh.serving.monitoring import Monitoring
from recmesh.serving.peer import Peer
from recmesh.serving.rpc import handlers
from recmesh.serving.settings import ServerSettings, printable
from recmesh.serving.tracing import Tracer
from recmesh.settings import load_settings

if TYPE_CHECKING:
    from recmesh.serving.http.server import HttpServer

S = TypeVar("S", bound=ServerSettings)

_ACCEPT_SECONDS = 0.05
_CANCEL_SECONDS = 0.1
# Of one connection; others wait at the client.
_MAX_STREAMS = 1_000
_CONNECTION_AGE_GRACE_MS = 10_000
# Whoever does not finish it holds a connection for that long.
_HANDSHAKE_MS = 10_000

log = structlog.get_logger(__name__)


Build: TypeAlias = Callable[[S], AbstractAsyncContextManager[Sequence[Endpoint]]]
"""Opens what a service needs and yields its endpoints; closed after the drain."""

Work: TypeAlias = Callable[[S], AbstractAsyncContextManager[Callable[[], bool]]]
"""Does the work of a process during a block, and yields what tells whether the process is ready."""


def run(name: str, settings_class: type[S], build: Build[S], port_of: Callable[[S], int]) -> NoReturn:
    """Run a service process until SIGTERM or SIGINT, and exit.

    Args:
        name: Of the process.
        settings_class: Settings to read from the environment.
        build: See `Build`.
        port_of: The port from which the default metrics port is derived.
    """
    _run(name, settings_class, lambda settings: _serve(name, settings, build, port_of(settings)))


def run_worker(name: str, settings_class: type[S], work: Work[S]) -> NoReturn:
    """Run a process that serves nothing but its metrics port until SIGTERM or SIGINT, and exit.

    Args:
        name: Of the process.
        settings_class: Settings to read from the environment, with a default for the metrics port.
        work: See `Work`.
    """
    _run(name, settings_class, lambda settings: _work(settings, work))


def _run(name: str, settings_class: type[S], process: Callable[[S], Coroutine[Any, Any, None]]) -> NoReturn:
    try:
        settings = load_settings(settings_class)
        logs.configure(settings.log_level, name)
        log.info("settings", **printable(settings))
        uvloop.run(process(settings))
    except RecmeshError as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    sys.exit(0)


async def _serve(name: str, settings: S, build: Build[S], port: int) -> None:
    stop = _signals()
    async with AsyncExitStack() as stack:
        encryption = Encryption.of(settings)
        callers = Callers.of(settings, encryption)
        metrics_port = settings.metrics_port_for(port)
        monitoring = await stack.enter_async_context(_monitoring(settings, metrics_port, encryption, callers))
        audit = Audit.with_key_of(settings.audit_key_file) if settings.audit else None
        tracer = Tracer.of(name, settings)
        stack.callback(tracer.close)
        endpoints = await stack.enter_async_context(build(settings))
        congestion = next((endpoint.congestion for endpoint in endpoints if endpoint.congestion), Congestion())
        servers = [
            _EndpointServer(endpoint, settings, encryption, tracer, congestion, callers, audit)
            for endpoint in endpoints
        ]
        await stack.enter_async_context(background(keep_adapting([server.load for server in servers], congestion)))
        public = next(server for server in servers if server.port == port)
        monitoring.ready = lambda: public.health.serving
        # All ports are bound before any is served: if one is in use, the process ends.
        for server in servers:
            server.bind()
        for server in servers:
            await server.start()
            await stack.enter_async_context(background(server.health.run()))
        await stop.wait()
        log.info("draining")
        await asyncio.gather(*(server.drain() for server in servers))
    log.info("stopped")


async def _work(settings: S, work: Work[S]) -> None:
    stop, encryption = _signals(), Encryption.of(settings)
    callers, port = Callers.of(settings, encryption), settings.metrics_port_for(0)
    async with _monitoring(settings, port, encryption, callers) as monitoring, work(settings) as ready:
        monitoring.ready = ready
        await stop.wait()
    log.info("stopped")


def _signals() -> asyncio.Event:
    """An event that is set when the process is told to end."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


@asynccontextmanager
async def _monitoring(
    settings: ServerSettings, port: int, encryption: Encryption | None, callers: Callers | None
) -> AsyncIterator[Monitoring]:
    """Answer on the metrics port during the block, for those who may scrape."""

    def check(peer: Peer) -> None:
        if callers is not None:
            callers.check(peer, METRICS)

    async with AsyncExitStack() as stack:
        if callers is not None:
            await stack.enter_async_context(background(callers.follow()))
        monitoring = Monitoring(settings.host, port, encryption, check, asyncio.get_running_loop())
        stack.callback(monitoring.stop)
        yield monitoring


class background(AbstractAsyncContextManager["asyncio.Task[None]"]):  # noqa: N801 - used like a function
    """Runs an endless coroutine as a task for the duration of a block, and cancels it at the end.

    If the task ends earlier, the process drains and exits with the error: without the task it would seem to be healthy.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Start nothing yet; the task is created on entry."""
        self._coroutine = coroutine

    async def __aenter__(self) -> "asyncio.Task[None]":
        """Create the task."""
        self._task = asyncio.create_task(self._coroutine, name=getattr(self._coroutine, "__qualname__", None))
        self._task.add_done_callback(_stop_process)
        return self._task

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        """Cancel the task and wait for its end. Raises its error if it had ended before."""
        # Libraries may swallow a cancellation: redis-py does while it connects.
        while not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task], timeout=_CANCEL_SECONDS)
        with suppress(asyncio.CancelledError):
            self._task.result()


def _stop_process(ended: "asyncio.Task[None]") -> None:
    if ended.cancelled():
        return
    log.critical("a background task ended; stopping", task=ended.get_name(), exc_info=ended.exception())
    signal.raise_signal(signal.SIGTERM)


class _EndpointServer:
    """The servers of one endpoint: gRPC, with health and reflection, and HTTP if it has a port."""

    def __init__(
        self,
        endpoint: Endpoint,
        settings: ServerSettings,
        encryption: Encryption | None,
        tracer: Tracer,
        congestion: Congestion,
        callers: Callers | None = None,
        audit: Audit | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._settings = settings
        self._encryption = encryption
        self._mixed: MixedListener | None = None
        self.port = endpoint.port
        self.load = Load(settings.max_in_flight, settings.max_bytes_in_flight, congestion)
        service = endpoint.descriptor.full_name
        self.health = Health(endpoint.name, ("", service), endpoint.check)
        guard = Guard(endpoint.name, self.load, tracer, settings.default_timeout, callers, audit)
        self._server = grpc.aio.server(
            interceptors=[Interceptor(guard)],
            options=_server_options(settings),
        )
        # A registered method has a queue of its own in gRPC: no health check waits behind its calls.
        methods = handlers(endpoint.descriptor, endpoint.methods, endpoint.max_request_bytes)
        self._server.add_registered_method_handlers(service, methods)
        self._http = _http_server(endpoint, guard, self.health, settings, encryption) if endpoint.http_port else None
        health_pb2_grpc.add_HealthServicer_to_server(self.health.servicer, self._server)
        if settings.reflection:
            names = (service, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, self._server)

    def bind(self) -> None:
        """Bind the ports. Raises SettingsError if one is not free."""
        if self._encryption and self._encryption.accept_plain:
            variable = self._variable()
            listening = listen(self._settings.host, self.port, variable)
            tls_port, plain_port = self._bind(f"{LOOPBACK}:0", self._encryption), self._bind(f"{LOOPBACK}:0", None)
            self._mixed = MixedListener(listening, tls_port, plain_port)
        else:
            self._bind(address(self._settings.host, self.port), self._encryption)
        if self._http:
            self._http.bind()

    def _bind(self, place: str, encryption: Encryption | None) -> int:
        try:
            if encryption:
                bound = self._server.add_secure_port(place, encryption.credentials())
            else:
                bound = self._server.add_insecure_port(place)
        except RuntimeError:
            bound = 0
        if not bound:
            raise unbindable(self._settings.host, self.port, self._variable())
        return bound

    def _variable(self) -> str:
        return f"RECMESH_{self._endpoint.name.upper().replace('-', '_')}_PORT"

    async def start(self) -> None:
        """Answer calls, once `bind` has succeeded."""
        await self._server.start()
        if self._mixed:
            await self._mixed.start()
        place = address(self._settings.host, self.port)
        log.info("listening", service=self._endpoint.name, address=place, tls=_described(self._encryption))
        if self._http:
            await self._http.start()

    async def drain(self) -> None:
        """Announce NOT_SERVING, give clients time to react, refuse new calls, and wait for those in flight."""
        await self.health.leave()
        await asyncio.sleep(self._settings.drain_delay)
        if self._mixed:
            await self._mixed.stop()
        http = asyncio.create_task(self._http.drain()) if self._http else None
        stopping = asyncio.create_task(self._server.stop(self._settings.drain_timeout))
        # Calls that were accepted just before must be counted before the load is checked.
        await asyncio.sleep(_ACCEPT_SECONDS)
        # The server itself would also wait for the clients' health watches, which never end.
        await asyncio.wait([stopping, asyncio.create_task(self.load.idle())], return_when=asyncio.FIRST_COMPLETED)
        await self._server.stop(0)
        await stopping
        if http:
            await http
        if self._mixed:
            await self._mixed.close()


def _described(encryption: Encryption | None) -> str:
    if encryption is None:
        return "off"
    return "on, and plain" if encryption.accept_plain else "on"


def _http_server(
    endpoint: Endpoint, guard: Guard, health: Health, settings: ServerSettings, encryption: Encryption | None
) -> "HttpServer":
    # Images of services without an HTTP port lack what it needs.
    from recmesh.serving.http.server import HttpServer

    return HttpServer(endpoint, guard, health, settings, encryption)


def _server_options(settings: ServerSettings) -> list[tuple[str, int]]:
    # Jitter keeps the clients of one pod from reconnecting all at once.
    age_seconds = settings.connection_age * random.uniform(0.7, 1.3)
    return [
        # Two servers on one port would share its calls: starting the second one must fail.
        ("grpc.so_reuseport", 0),
        # gRPC itself refuses what no service accepts. The limit of a service is in the deserializer, and named.
        ("grpc.max_receive_message_length", 2 * MAX_STAGE_REQUEST_BYTES),
        ("grpc.max_concurrent_streams", _MAX_STREAMS),
        ("grpc.max_connection_age_ms", int(age_seconds * 1000)),
        ("grpc.max_connection_age_grace_ms", _CONNECTION_AGE_GRACE_MS),
        ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MS),
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.http2.ping_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", KEEPALIVE_MS // 2),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", KEEPALIVE_MS // 2),
    ]
