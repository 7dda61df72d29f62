"""The metrics by name: dashboards and alerts read these."""

import socket
import urllib.request
from types import SimpleNamespace

import prometheus_client
import pytest
from prometheus_client.metrics import MetricWrapperBase

from recmesh.errors import SettingsError
from recmesh.serving import metrics

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5)

METRICS = {
    "REQUESTS": ("counter", "recmesh_requests", ("service", "method", "status")),
    "REQUEST_SECONDS": ("histogram", "recmesh_request_seconds", ("service", "method")),
    "IN_FLIGHT": ("gauge", "recmesh_requests_in_flight", ("service",)),
    "LIMIT": ("gauge", "recmesh_requests_limit", ("service",)),
    "STAGE_SECONDS": ("histogram", "recmesh_stage_seconds", ("stage",)),
    "DEGRADED": ("counter", "recmesh_degraded", ("part",)),
    "SEARCH_QUERIES": ("histogram", "recmesh_search_queries", ()),
    "RANKED_ITEMS": ("histogram", "recmesh_ranked_items", ()),
    "BACKEND_SECONDS": ("histogram", "recmesh_rank_backend_seconds", ("backend",)),
    "BACKEND_FAILURES": ("counter", "recmesh_rank_backend_failures", ("backend", "reason")),
    "BACKEND_OPEN": ("gauge", "recmesh_rank_backend_open", ("backend",)),
    "PADDLE_SERVING_ANSWERS": ("counter", "recmesh_paddle_serving_answers", ("err_no",)),
    "PIPELINE_RESTARTS": ("counter", "recmesh_pipeline_restarts", ()),
    "UNKNOWN_VALUES": ("counter", "recmesh_unknown_values", ("service",)),
    "DAMAGED_VALUES": ("counter", "recmesh_damaged_values", ("kind",)),
    "UNKNOWN_USERS": ("counter", "recmesh_unknown_users", ()),
    "SERVING": ("gauge", "recmesh_serving", ("service",)),
    "RELEASE_SWITCHES": ("counter", "recmesh_release_switches", ("service",)),
    "RELEASE_FAILURES": ("counter", "recmesh_release_failures", ("service",)),
    "RELEASE_ACTIVE": ("gauge", "recmesh_release_active", ("service", "release")),
    "LOOP_LAG": ("gauge", "recmesh_event_loop_lag_seconds", ()),
}
BUCKETS = {
    "REQUEST_SECONDS": SECONDS,
    "STAGE_SECONDS": SECONDS,
    "BACKEND_SECONDS": SECONDS,
    "SEARCH_QUERIES": (1, 2, 4, 8, 12, 16),
    "RANKED_ITEMS": (1, 10, 50, 100, 200, 400, 800, 1200, 2000),
}


def test_every_metric_has_its_kind_its_name_and_its_labels() -> None:
    made = {name: metric for name, metric in vars(metrics).items() if isinstance(metric, MetricWrapperBase)}
    assert {name: (m._type, m._name, tuple(m._labelnames)) for name, m in made.items()} == METRICS
    assert all(metric._documentation for metric in made.values())


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
