"""The metrics by name: dashboards and alerts read these."""

import socket
import urllib.request
from types import SimpleNamespace

import prometheus_client
import pytest

from recmesh.errors import SettingsError
from recmesh.serving import metrics

SECONDS = (
    *(0.0005, 0.001, 0.0015, 0.002, 0.003, 0.004, 0.005, 0.0065, 0.008, 0.01, 0.0125, 0.015, 0.02, 0.025, 0.03, 0.04),
    *(0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5),
)
BUCKETS = {
    "REQUEST_SECONDS": SECONDS,
    "STAGE_SECONDS": SECONDS,
    "BACKEND_SECONDS": SECONDS,
    "SEARCH_QUERIES": (1, 2, 4, 8, 12, 16),
    "RANKED_ITEMS": (1, 10, 50, 100, 200, 400, 800, 1200, 2000),
}


@pytest.mark.parametrize("name", BUCKETS)
def test_the_buckets_of_a_histogram(name: str) -> None:
    assert tuple(getattr(metrics, name)._kwargs["buckets"]) == BUCKETS[name]


def test_metrics_are_served_until_they_are_stopped() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    stop = metrics.serve_metrics("127.0.0.1", port)
    metrics.PIPELINE_RESTARTS.inc(0)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        assert b"recmesh_pipeline_restarts_total" in answer.read()
    with pytest.raises(
        SettingsError, match=rf"metrics port 127\.0\.0\.1:{port} cannot be bound .*RECMESH_METRICS_PORT"
    ):
        metrics.serve_metrics("127.0.0.1", port)
    stop()
    metrics.serve_metrics("127.0.0.1", port)()


@pytest.mark.parametrize(
    ("host", "dual", "bound"),
    [("::", True, "::"), ("::", False, "0.0.0.0"), ("::1", False, "::1")],  # noqa: S104
)
def test_without_ipv6_every_address_means_those_of_ipv4(
    monkeypatch: pytest.MonkeyPatch, host: str, dual: bool, bound: str
) -> None:
    started: list[tuple[int, str]] = []

    def start(port: int, addr: str) -> tuple[SimpleNamespace, SimpleNamespace]:
        started.append((port, addr))
        return SimpleNamespace(), SimpleNamespace()

    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: dual)
    monkeypatch.setattr(prometheus_client, "start_http_server", start)
    metrics.serve_metrics(host, 0)
    assert started == [(0, bound)]
