"""Reading metrics ports over HTTP."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from prometheus_client import CollectorRegistry, Counter, start_http_server

from local.ports import free_ports
from local.settings import FEED, SERVICES, LocalSettings
from recmesh.cli.top import scrape
from recmesh.cli.top.scrape import Scraper, Target, default_targets, named_targets
from recmesh.cli.top.window import Window
from recmesh.contract import address, metrics_address
from recmesh.errors import SettingsError


@contextlib.contextmanager
def served(port: int, count: int) -> Iterator[None]:
    """Serve a counter on a port, as the services do."""
    registry = CollectorRegistry()
    Counter("recmesh_unknown_users", "", registry=registry).inc(count)
    server, thread = start_http_server(port, addr="127.0.0.1", registry=registry)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def answering(status: int, body: bytes, headers: list[str | None] | None = None) -> Iterator[str]:
    """The address of a server with one answer to everything. It adds the `authorization` of requests to `headers`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if headers is not None:
                headers.append(self.headers["authorization"])
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_target_that_does_not_answer_comes_back() -> None:
    ports = free_ports(2)
    scraper = Scraper([Target(f"127.0.0.1:{port}") for port in ports])
    with served(ports[0], 10):
        with served(ports[1], 1000):
            first = scraper.scrape()
        second = scraper.scrape()
        with served(ports[1], 7):
            third, fourth = scraper.scrape(), scraper.scrape()
    assert [found.error for found in second] == ["", "connection refused"]
    assert all(found.page for found in (*first, *third, *fourth))
    counts = [
        Window.between(before, after).count("recmesh_unknown_users_total")
        for before, after in ((first, second), (second, third), (third, fourth), (first, third))
    ]
    # The last pair is a restart between two readings.
    assert counts == [0, 0, 0, 7]


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (404, b"", "HTTP status 404"),
        (200, b"<html>\n<p>hello", "no page with metrics of recmesh"),
        (200, b"up 1\n", "no page with metrics of recmesh"),
        (200, b"recmesh_a \xff", "no page with metrics of recmesh"),
    ],
)
def test_what_is_no_page_of_a_service(status: int, body: bytes, error: str) -> None:
    with answering(status, body) as target:
        (found,) = Scraper([Target(target)]).scrape()
    assert (found.page, found.error) == (None, error)


def test_a_target_that_accepts_and_is_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrape, "_TIMEOUT_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        (found,) = Scraper([Target(f"127.0.0.1:{silent.getsockname()[1]}")]).scrape()
    assert found.error == "timed out"


def test_a_target_that_closes_the_connection_as_a_port_forward_without_its_pod() -> None:
    def accept_and_close() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(65536)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=accept_and_close)
        thread.start()
        (found,) = Scraper([Target(f"127.0.0.1:{server.getsockname()[1]}")]).scrape()
        thread.join()
    assert found.error == "remote end closed connection without response"


def test_targets_ignore_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with answering(200, b"recmesh_a 1\n") as target:
        (found,) = Scraper([Target(target)]).scrape()
    assert found.error == ""


@pytest.mark.parametrize(
    ("texts", "targets"),
    [
        (["a:1"], ["a:1"]),
        (["a:1, b-c.d:65535", "[::1]:18930"], ["a:1", "b-c.d:65535", "[::1]:18930"]),
        (["a:1,a:1", "a:1"], ["a:1"]),
        ([""], []),
    ],
)
def test_targets_by_name(texts: list[str], targets: list[str]) -> None:
    assert [target.address for target in named_targets(texts)] == targets


@pytest.mark.parametrize(
    "name", ["18930", "host", "host:", "host:0", "host:65536", "http://host:1", "::1:18930", "a@b:1"]
)
def test_a_target_that_is_none(name: str) -> None:
    with pytest.raises(SettingsError, match="give HOST:PORT of a metrics port, such as"):
        named_targets([name])


def test_the_default_targets_are_those_of_the_local_mesh(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = LocalSettings()
    expected = {name: address(settings.reachable_host, settings.metrics(name)) for name in (*SERVICES, FEED)}
    assert {target.service: target.address for target in default_targets({})} == expected
    assert expected["as"] == address(settings.reachable_host, settings.metrics("compact"))
    monkeypatch.setenv("RECMESH_METRICS_PORT", "5000")
    assert default_targets()[0] == Target(f"127.0.0.1:{LocalSettings().metrics('compact')}", "as")


def test_the_default_targets_follow_those_of_the_client() -> None:
    found = default_targets({"RECMESH_AS_TARGET": "dns:///as.shop:8930", "RECMESH_UM_PORT": "9000"})
    assert [(target.service, target.address) for target in found if target.service in ("um", "as")] == [
        ("um", "127.0.0.1:19000"),
        ("as", "as.shop:18930"),
    ]


@pytest.mark.parametrize("variable", ["RECMESH_CM_TARGET", "RECMESH_METRICS_PORT"])
def test_a_default_target_without_a_port(variable: str) -> None:
    with pytest.raises(SettingsError, match="name them with --target HOST:PORT"):
        default_targets({variable: "unix:/run/cm"})


def test_the_metrics_of_a_target() -> None:
    assert metrics_address("[::1]:8930") == "[::1]:18930"
    assert metrics_address("dns://1.1.1.1/as:8930") == "as:18930"


def test_a_token_is_sent_over_tls_or_to_this_machine() -> None:
    headers: list[str | None] = []
    tokens = iter(["one", "two"])
    with answering(200, b"recmesh_unknown_users_total 5\n", headers) as target:
        scraper = Scraper([Target(target)], token=lambda: next(tokens))
        assert all(found.page for _ in range(2) for found in scraper.scrape())
        assert all(found.page for found in Scraper([Target(target)]).scrape())
    assert headers == ["Bearer one", "Bearer two", None]
    with pytest.raises(SettingsError, match=r"as\.example:18930: the token would be sent in plain text"):
        Scraper([Target(target), Target("as.example:18930")], token=lambda: "one")
