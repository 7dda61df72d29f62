"""The life of a service process: settings, logs, metrics, ports, health, and a graceful end at SIGTERM."""

import asyncio
import random
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import grpc
import structlog
import uvloop
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from recmesh.errors import RecmeshError, SettingsError
from recmesh.serving import channels, logs, metrics
from recmesh.serving.health import Check, Health
from recmesh.serving.interceptor import Interceptor, Load
from recmesh.serving.rpc import Method, handlers
from recmesh.serving.settings import ServerSettings, load_settings, printable
from recmesh.serving.tracing import Tracer

S = TypeVar("S", bound=ServerSettings)

_SETTLE = 0.05

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Endpoint:
    """One gRPC service on one port.

    Attributes:
        name: in metrics and logs (`um`, `cm`, ...).
        port: to listen on.
        descriptor: of the gRPC service.
        methods: implementation of each method by its name.
        check: returns when the service can answer; raises a RecmeshError that says what is missing.
    """

    name: str
    port: int
    descriptor: ServiceDescriptor
    methods: dict[str, Method]
    check: Check


Build = Callable[[S, Tracer], AbstractAsyncContextManager[Sequence[Endpoint]]]


def run(name: str, settings_class: type[S], build: Build[S], port_of: Callable[[S], int]) -> NoReturn:
    """Run a service process until SIGTERM or SIGINT, then exit.

    Args:
        name: of the process.
        settings_class: read from the environment.
        build: opens what the service needs and yields its endpoints; closed after the drain.
        port_of: the port from which the metrics port follows.
    """
    try:
        settings = load_settings(settings_class)
        logs.configure(settings.log_level, name)
        log.info("settings", **printable(settings))
        uvloop.run(_serve(name, settings, build, port_of(settings)))
    except RecmeshError as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    sys.exit(0)


async def _serve(name: str, settings: S, build: Build[S], port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        stack.callback(metrics.serve_metrics(settings.host, settings.metrics_port_for(port)))
        tracer = Tracer.to_otlp(name, settings.trace_ratio, settings.otlp_endpoint)
        stack.callback(tracer.close)
        await stack.enter_async_context(background(metrics.watch_loop_lag()))
        endpoints = await stack.enter_async_context(build(settings, tracer))
        ports = [_Port(endpoint, settings, tracer) for endpoint in endpoints]
        for one in ports:
            await one.start()
            await stack.enter_async_context(background(one.health.run()))
        await stop.wait()
        log.info("draining")
        await asyncio.gather(*(one.drain() for one in ports))
    log.info("stopped")


class background(AbstractAsyncContextManager["asyncio.Task[None]"]):  # noqa: N801 - used like a function
    """Run a coroutine beside the block, and cancel it at its end."""

    def __init__(self, coroutine: Any) -> None:
        self._coroutine = coroutine

    async def __aenter__(self) -> "asyncio.Task[None]":
        self._task = asyncio.create_task(self._coroutine)
        return self._task

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task


class _Port:
    """A gRPC server for one endpoint, with health and reflection."""

    def __init__(self, endpoint: Endpoint, settings: ServerSettings, tracer: Tracer) -> None:
        self._endpoint = endpoint
        self._settings = settings
        self._load = Load(settings.max_in_flight)
        service = endpoint.descriptor.full_name
        self.health = Health(endpoint.name, ("", service), endpoint.check)
        self._server = grpc.aio.server(
            interceptors=[Interceptor(endpoint.name, self._load, tracer, settings.default_timeout)],
            options=_server_options(settings),
        )
        self._server.add_generic_rpc_handlers((handlers(endpoint.descriptor, endpoint.methods),))
        health_pb2_grpc.add_HealthServicer_to_server(self.health.servicer, self._server)
        names = (service, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    async def start(self) -> None:
        address = f"{self._settings.host}:{self._endpoint.port}"
        try:
            bound = self._server.add_insecure_port(address)
        except RuntimeError:
            bound = 0
        if not bound:
            variable = f"RECMESH_{self._endpoint.name.upper().replace('-', '_')}_PORT"
            raise SettingsError(f"{address} cannot be bound: set {variable} to a free port, or RECMESH_HOST")
        await self._server.start()
        log.info("listening", service=self._endpoint.name, address=address)

    async def drain(self) -> None:
        """NOT_SERVING; once the clients have heard it refuse new calls; end when those in flight have ended."""
        await self.health.leave()
        await asyncio.sleep(self._settings.drain_delay)
        stopping = asyncio.create_task(self._server.stop(self._settings.drain_timeout))
        # Calls accepted in the last moment must count as in flight before we ask whether any are.
        await asyncio.sleep(_SETTLE)
        # The server would also wait for the health watches of its clients, which never end.
        await asyncio.wait([stopping, asyncio.create_task(self._load.idle())], return_when=asyncio.FIRST_COMPLETED)
        await self._server.stop(0)
        await stopping


def _server_options(settings: ServerSettings) -> list[tuple[str, int]]:
    # Jittered, so that the clients of one pod do not all reconnect at once.
    age = settings.connection_age * random.uniform(0.7, 1.3)
    return [
        # Two servers on one port would each get a part of the calls: better to fail.
        ("grpc.so_reuseport", 0),
        ("grpc.max_connection_age_ms", int(age * 1000)),
        ("grpc.max_connection_age_grace_ms", 10_000),
        ("grpc.keepalive_time_ms", channels.KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", channels.KEEPALIVE_TIMEOUT_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", channels.KEEPALIVE_MS // 2),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", channels.KEEPALIVE_MS // 2),
    ]
