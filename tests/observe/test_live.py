"""Every expression of the dashboards and alerts returns data from a mesh under load."""

import json
import math
import re
from collections.abc import Iterator, Mapping

import pytest
import yaml

from charts.observability.__main__ import CHART
from charts.observability.dashboards import ALL
from local.observe import ALERTS
from tests.mesh.test_faults import load
from tests.observe.feeding import recording
from tests.observe.monitoring import Prometheus, eventually, running_prometheus
from tests.processes import Service
from tests.shop import Shop

VARIABLES = {"$__rate_interval": "10s", "$__range": "30s", "$namespace": ".*", "$service": "rank"}
SELECTOR = re.compile(r"\b(?:recmesh|process)_\w+(?:\{[^}]*\})?")
OF_FAULTS = re.compile(r'status!~"OK\|INVALID_ARGUMENT\|CANCELLED"|release=~"starter-\.\*"')
"""What alerts select and a healthy mesh lacks."""

# On a healthy mesh, without Paddle Serving, nothing of this happens. tests/observe/test_alerts.py has series with it.
EMPTY = {
    "recmesh_caller_requests_total",
    "recmesh_certificate_expiry_timestamp_seconds",  # 0 without TLS
    "recmesh_damaged_values_total",
    "recmesh_degraded_total",
    "recmesh_paddle_serving_answers_total",
    "recmesh_rank_backend_failures_total",
    "recmesh_rank_backend_open",
    "recmesh_refused_requests_total",
    "recmesh_release_failures_total",
    "recmesh_release_switches_total",
    "recmesh_stage_failures_total",
    "recmesh_store_failures_total",
    # No controller runs.
    "recmesh_repairs_total",
    "recmesh_store_missing",
    # No rules are active.
    "recmesh_rule_items_total",
    # No answers are logged, and none are evaluated.
    "recmesh_shown_answers",
    "recmesh_shown_rate",
    "recmesh_shown_timestamp_seconds",
    "recmesh_unlogged_answers_total",
}

# The load asks for a third of the users, who differ from all, and the machine may be so busy that answers are late.
POSSIBLE = {"RecmeshInputDrift", "RecmeshLatencyBudgetBurn", "RecmeshLatencyBudgetSlowBurn", "RecmeshEventLoopLag"}


def panels() -> dict[str, str]:
    """The expressions of all panels by dashboard, title and query, as Grafana would send them."""
    found = {}
    for name in ALL:
        for panel in json.loads((CHART / "dashboards" / f"{name}.json").read_text())["panels"]:
            for target in panel.get("targets", ()):
                expression = target["expr"]
                for variable, value in VARIABLES.items():
                    expression = expression.replace(variable, value)
                found[f"{name} / {panel['title']} / {target['refId']}"] = expression
    return found


def alerts() -> dict[str, str]:
    """The expressions of all alerts by name."""
    return {rule["alert"]: rule["expr"] for rule in yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]}


@pytest.fixture(scope="module")
def prometheus(compact: Service, apart: Mapping[str, Service], trained_shop: Shop) -> Iterator[Prometheus]:
    """Scrapes both kinds of mesh, while both answer requests, and feed, while it records actions."""
    with (
        recording(trained_shop) as (feed, _),
        running_prometheus(
            [f"127.0.0.1:{service.ports['metrics']}" for service in (compact, feed, *apart.values())]
        ) as server,
        load(compact.target("as"), trained_shop),
        load(apart["as"].target("as"), trained_shop),
    ):
        yield server


def values(server: Prometheus, expression: str) -> list[float]:
    """The numbers that an expression returns now."""
    return [value for series in server.query(expression) if not math.isnan(value := float(series["value"][1]))]


def test_every_panel_shows_data(prometheus: Prometheus) -> None:
    waiting = panels()

    def all_seen() -> bool:
        for name, expression in list(waiting.items()):
            if values(prometheus, expression):
                del waiting[name]
        return all(may_be_empty(expression) for expression in waiting.values())

    eventually(all_seen, lambda: sorted(waiting))


def may_be_empty(expression: str) -> bool:
    """Whether an expression needs a metric without a series, and that is as it should be."""
    used = {match.partition("{")[0] for match in SELECTOR.findall(expression)}
    return bool(used & EMPTY)


def test_no_alert_that_a_healthy_mesh_can_avoid_is_pending(prometheus: Prometheus) -> None:
    """Each alert finds the series that it needs, and returns nothing."""
    for name, expression in alerts().items():
        for selector in SELECTOR.findall(expression):
            series = prometheus.query(OF_FAULTS.sub("", selector))
            assert series or selector.partition("{")[0] in EMPTY or "RESOURCE_EXHAUSTED" in selector, (name, selector)
    firing = {name for name, expression in alerts().items() if prometheus.query(expression)}
    assert firing - POSSIBLE == set()
