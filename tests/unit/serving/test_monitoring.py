"""The monitoring port: metrics and probes."""

import asyncio
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from local.ports import free_ports
from recmesh.errors import PermissionDenied, RecmeshError, SettingsError, Unauthenticated
from recmesh.serving import metrics
from recmesh.serving.monitoring import Monitoring
from recmesh.serving.peer import Peer


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop that runs in a thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def everybody(_peer: Peer) -> None: ...


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_it_answers_until_it_is_stopped(loop: asyncio.AbstractEventLoop) -> None:
    port = free_ports(1)[0]
    monitoring = Monitoring("127.0.0.1", port, None, everybody, loop)
    metrics.PIPELINE_RESTARTS.inc(0)
    assert "recmesh_pipeline_restarts_total" in get(port, "/metrics")[1]
    with pytest.raises(SettingsError) as raised:
        Monitoring("127.0.0.1", port, None, everybody, loop)
    advice = "set RECMESH_METRICS_PORT to a free port, or RECMESH_HOST"
    assert str(raised.value) == f"127.0.0.1:{port} cannot be bound: {advice}"
    monitoring.stop()
    Monitoring("127.0.0.1", port, None, everybody, loop).stop()


def test_it_is_ready_as_soon_as_the_service_is(loop: asyncio.AbstractEventLoop) -> None:
    port = free_ports(1)[0]
    monitoring = Monitoring("127.0.0.1", port, None, everybody, loop)
    assert get(port, "/readyz") == (503, "not ready\n")
    monitoring.ready = lambda: True
    assert get(port, "/readyz") == (200, "ok\n")
    monitoring.stop()


def test_it_is_alive_while_the_event_loop_runs_callbacks(loop: asyncio.AbstractEventLoop) -> None:
    port, hold, held = free_ports(1)[0], threading.Event(), threading.Event()
    monitoring = Monitoring("127.0.0.1", port, None, everybody, loop)
    assert get(port, "/livez") == (200, "ok\n")

    def block() -> None:
        held.set()
        hold.wait()

    loop.call_soon_threadsafe(block)
    held.wait()
    assert get(port, "/livez") == (503, "not ready\n")
    hold.set()
    assert get(port, "/livez") == (200, "ok\n")
    monitoring.stop()


@pytest.mark.parametrize(
    ("error", "status", "header"), [(Unauthenticated("who?"), 401, "Bearer"), (PermissionDenied("not you"), 403, None)]
)
def test_those_who_may_not_scrape_get_the_probes_only(
    loop: asyncio.AbstractEventLoop, error: RecmeshError, status: int, header: str | None
) -> None:
    port, peers = free_ports(1)[0], list[Peer]()

    def nobody(peer: Peer) -> None:
        peers.append(peer)
        raise error

    monitoring = Monitoring("127.0.0.1", port, None, nobody, loop)
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10)
    assert (raised.value.code, raised.value.headers["WWW-Authenticate"]) == (status, header)
    assert raised.value.read().decode() == f"{error}\n"
    assert get(port, "/livez") == (200, "ok\n")
    assert peers == [Peer()]
    monitoring.stop()


@pytest.mark.parametrize(("dual", "bound"), [(True, "::"), (False, "0.0.0.0")])  # noqa: S104
def test_without_ipv6_every_address_means_those_of_ipv4(
    monkeypatch: pytest.MonkeyPatch, loop: asyncio.AbstractEventLoop, dual: bool, bound: str
) -> None:
    opened: list[tuple[object, ...]] = []
    create = socket.create_server

    def create_server(place: tuple[str, int], **options: object) -> socket.socket:
        opened.append(place)
        return create(("127.0.0.1", 0))

    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: dual)
    monkeypatch.setattr(socket, "create_server", create_server)
    Monitoring("::", 0, None, everybody, loop).stop()
    assert opened == [(bound, 0)]
