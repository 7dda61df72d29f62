"""Dashboards, scraping and alerts: rendered where values ask for them and the cluster has their kinds."""

import json
from typing import Any

import pytest
import yaml

from charts.observability.dashboards import ALL
from tests.chart.conftest import CHARTS, Resource, containers, find, pod_templates, refused, render

OPERATOR = "--api-versions=monitoring.coreos.com/v1"
KINDS = {"ServiceMonitor", "PodMonitor", "PrometheusRule"}
METRICS = {
    **{"um": 18910, "cm": 18920, "recall": 18950, "rank": 18960, "as": 18930, "feed": 18940},
    "controller": 18970,
}


def of_operator(resources: list[Resource]) -> set[str]:
    return {resource["kind"] for resource in resources} & KINDS


@pytest.mark.parametrize("values", ["default", "local"])
def test_nothing_is_rendered_by_default(values: str) -> None:
    assert of_operator(render(values, OPERATOR)) == set()
    assert not [resource for resource in render(values) if "dashboard" in resource["metadata"]["name"]]


@pytest.mark.parametrize(
    ("values", "kinds"), [("all", {"ServiceMonitor", "PrometheusRule"}), ("external", {"PodMonitor"})]
)
def test_kinds_of_the_operator_need_the_operator(values: str, kinds: set[str]) -> None:
    assert of_operator(render(values)) == set()
    assert of_operator(render(values, OPERATOR)) == kinds
    (one, *_) = sorted(kinds)
    assert of_operator(render(values, f"--api-versions=monitoring.coreos.com/v1/{one}")) == {one}


def test_every_dashboard_is_a_config_map_that_the_sidecar_finds() -> None:
    found = [resource for resource in render("all") if resource["metadata"]["name"].startswith("shop-dashboard-")]
    assert {resource["metadata"]["name"].removeprefix("shop-dashboard-") for resource in found} == set(ALL)
    for resource in found:
        assert resource["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert resource["metadata"]["annotations"] == {"grafana_folder": "recmesh"}
        ((name, content),) = resource["data"].items()
        assert content == (CHARTS / "recmesh" / "dashboards" / name.removeprefix("recmesh-")).read_text()
        assert json.loads(content)["title"].startswith("recmesh: ")


def scraping(interval: str, name: str) -> list[dict[str, Any]]:
    """How a monitor scrapes a server of that name."""
    ca, certificate = ({"secret": {"name": "shop-prometheus-tls", "key": key}} for key in ("ca.crt", "tls.crt"))
    key = {"name": "shop-prometheus-tls", "key": "tls.key"}
    tls = {"serverName": name, "ca": ca, "cert": certificate, "keySecret": key}
    return [{"port": "metrics", "honorLabels": True, "interval": interval, "scheme": "https", "tlsConfig": tls}]


def test_the_service_monitors_find_the_metrics_port_of_every_process() -> None:
    resources = render("all", OPERATOR)
    scraped: dict[str, int] = {}
    for monitor in (resource for resource in resources if resource["kind"] == "ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        found = [
            (resource["metadata"]["name"], port["port"])
            for resource in resources
            if resource["kind"] == "Service" and wanted <= resource["metadata"]["labels"].items()
            for port in resource["spec"]["ports"]
            if port["name"] == "metrics"
        ]
        assert len(found) == 1, monitor["metadata"]["name"]
        assert monitor["spec"]["endpoints"] == scraping("15s", found[0][0])
        scraped |= dict(found)
    assert scraped == {f"shop-{name}": port for name, port in METRICS.items()} | {"shop-paddle-serving": 18961}


def test_without_tls_metrics_are_scraped_over_http() -> None:
    resources = render("all", OPERATOR, "--set=global.tls.enabled=false")
    monitor = find(resources, "ServiceMonitor", "um")
    assert monitor["spec"]["endpoints"] == [{"port": "metrics", "honorLabels": True, "interval": "15s"}]
    annotations = pod_templates(resources)["Deployment/shop-um"]["metadata"]["annotations"]
    assert "prometheus.io/scheme" not in annotations
    annotations = pod_templates(render())["Deployment/shop-um"]["metadata"]["annotations"]
    assert annotations == {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": "18910",
        "prometheus.io/scheme": "https",
    }


@pytest.mark.parametrize("values", ["all", "external"])
def test_policies_let_prometheus_reach_every_metrics_port(values: str) -> None:
    resources = render(values, OPERATOR)
    policies = {
        resource["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"]: resource["spec"].get(
            "ingress", []
        )
        for resource in resources
        if resource["kind"] == "NetworkPolicy"
    }
    scraped = metrics_ports(resources)
    assert set(scraped) == ({*METRICS, "paddle-serving"} if values == "all" else {"compact", "feed", "controller"})
    for component, port in scraped.items():
        (rule,) = [rule for rule in policies[component] if {"port": port, "protocol": "TCP"} in rule["ports"]]
        assert rule["from"] == [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]


def metrics_ports(resources: list[Resource]) -> dict[str, int]:
    """The container port `metrics` of each component that has one, except Milvus."""
    return {
        template["metadata"]["labels"]["app.kubernetes.io/component"]: port["containerPort"]
        for template in pod_templates(resources).values()
        for container in containers(template)
        for port in container.get("ports", ())
        if port["name"] == "metrics" and template["metadata"]["labels"]["app.kubernetes.io/component"] != "milvus"
    }


def test_a_pod_monitor_selects_the_pods_of_each_component_with_the_port() -> None:
    resources = render("external", OPERATOR)
    monitors = [resource for resource in resources if resource["kind"] == "PodMonitor"]
    assert {monitor["metadata"]["name"] for monitor in monitors} == {"shop-compact", "shop-feed", "shop-controller"}
    for monitor in monitors:
        name = monitor["metadata"]["name"]
        assert monitor["spec"]["podMetricsEndpoints"] == scraping("30s", name)
        labels = pod_templates(resources)[f"Deployment/{name}"]["metadata"]["labels"]
        assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_the_rule_has_the_alerts_of_the_file() -> None:
    rule = find(render("all", OPERATOR), "PrometheusRule", "alerts")
    expected: Any = yaml.safe_load((CHARTS / "recmesh" / "alerts.yaml").read_text())
    assert rule["spec"] == expected
    assert rule["metadata"]["labels"]["release"] == "prometheus"


def test_monitors_that_cannot_work_are_refused() -> None:
    on = "--set=monitoring.serviceMonitor.enabled=true"
    assert "name its namespace in networkPolicy.metricsNamespaces" in refused(OPERATOR, on)
    open_port = '--set-json=networkPolicy.metrics=[{"podSelector":{}}]'
    assert "not both" in refused(OPERATOR, on, open_port, "--set=monitoring.podMonitor.enabled=true")
    assert of_operator(render("default", OPERATOR, on, "--set=global.networkPolicy.enabled=false")) == {
        "ServiceMonitor"
    }
