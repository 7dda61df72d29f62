"""How a server drains, and what it needs to start."""

import asyncio
from typing import Any

import pytest
from grpc_health.v1 import health_pb2

from recmesh.errors import SettingsError
from recmesh.pb import um_pb2
from recmesh.serving import Endpoint, ServerSettings, server
from recmesh.serving.load import Congestion
from recmesh.serving.tracing import Tracer
from tests.unit.clock import Clock


async def _passes() -> None: ...


async def _call(_request: Any, _context: Any) -> Any: ...


def endpoint_server(name: str = "um", port: int = 8910) -> Any:
    descriptor = um_pb2.DESCRIPTOR.services_by_name["UMService"]
    endpoint = Endpoint(name, port, descriptor, {"um_call": _call}, _passes)
    settings = ServerSettings(max_in_flight=7, max_bytes_in_flight=99, drain_delay=0.25, drain_timeout=4)
    return server._EndpointServer(endpoint, settings, None, Tracer(), Congestion())


class _Grpc:
    """A gRPC server that keeps what happens to it."""

    def __init__(self, clock: Clock, bound: int | None) -> None:
        self.clock = clock
        self.bound = bound
        self.events: list[tuple[object, ...]] = []
        self.stopped = asyncio.Event()

    def add_insecure_port(self, place: str) -> int:
        self.events.append(("bind", place))
        if self.bound is None:
            raise RuntimeError("in use")
        return self.bound

    async def start(self) -> None:
        self.events.append(("start",))

    async def stop(self, grace: float) -> None:
        self.events.append(("stop", grace))
        if grace:
            await self.stopped.wait()
        self.stopped.set()


async def test_it_binds_its_address_before_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    made, grpc_server = endpoint_server(), _Grpc(Clock(monkeypatch), 8910)
    made._server = grpc_server
    made.bind()
    await made.start()
    assert grpc_server.events == [("bind", "127.0.0.1:8910"), ("start",)]


@pytest.mark.parametrize("bound", [None, 0])
async def test_a_port_in_use_is_named_by_its_setting(monkeypatch: pytest.MonkeyPatch, bound: int | None) -> None:
    made, grpc_server = endpoint_server("paddle-serving", 8961), _Grpc(Clock(monkeypatch), bound)
    made._server = grpc_server
    fault = "127.0.0.1:8961 cannot be bound: set RECMESH_PADDLE_SERVING_PORT to a free port, or RECMESH_HOST"
    with pytest.raises(SettingsError, match=fault):
        made.bind()
    assert ("start",) not in grpc_server.events


async def test_it_announces_its_end_before_it_refuses_calls_and_waits_for_those_in_flight(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch, "recmesh.serving.server")
    made, grpc_server = endpoint_server(), _Grpc(clock, 8910)
    made._server = grpc_server
    statuses: dict[str, int] = made.health.servicer._server_status
    await made.health._publish(True)
    made.load.enter(1, 1.0)
    at_pause: list[tuple[int, int]] = []
    clock.at_pause = lambda: at_pause.append((statuses[""], len(grpc_server.events)))
    draining = asyncio.create_task(made.drain())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not draining.done()
    assert grpc_server.events == [("stop", 4)]
    made.load.leave(1)
    await draining
    assert clock.pauses == [0.25, 0.05]
    assert at_pause[0] == (health_pb2.HealthCheckResponse.NOT_SERVING, 0), "calls were refused before clients knew"
    assert grpc_server.events == [("stop", 4), ("stop", 0)]


async def test_the_limits_of_the_settings_are_those_of_its_load() -> None:
    load = endpoint_server().load
    assert (load.limit, load._max_bytes) == (7, 99)
