"""The dashboards and alerts are those of their sources, and use the metrics of telemetry.yaml and nothing else."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from charts.observability.__main__ import CHART, rendered
from charts.observability.dashboards import ALL
from tests.servers import ROOT

_SELECTOR = re.compile(r"\b((?:recmesh|process)_\w+|ALERTS)\b(?:\{(.*?)\})?")
_MATCHED = re.compile(r'(\w+)\s*[!=]~?\s*"((?:[^"\\]|\\.)*)"')
_GROUPED = re.compile(r"\b(?:by|on|ignoring|group_left)\s*\(([^)]*)\)")
# Labels that scrapes and PromQL add.
_ADDED = {"namespace", "instance", "le", "alertname", "alertstate"}
_PROCESS = {"process_cpu_seconds_total", "process_resident_memory_bytes", "ALERTS"}

DASHBOARDS = [CHART / "dashboards" / f"{name}.json" for name in ALL]


def panels(path: Path) -> list[dict[str, Any]]:
    """The panels of a dashboard, without rows."""
    return [panel for panel in json.loads(path.read_text())["panels"] if panel["type"] != "row"]


def expressions(path: Path) -> Iterator[str]:
    """All expressions of a dashboard or of a rule file."""
    if path.suffix == ".json":
        yield from (target["expr"] for panel in panels(path) for target in panel["targets"])
    else:
        yield from (rule["expr"] for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"])


def base(name: str, metrics: dict[str, Any]) -> str:
    """The metric of a series."""
    histogram = re.sub(r"_(bucket|sum|count)$", "", name)
    return histogram if metrics.get(histogram, {}).get("type") == "histogram" else name


@pytest.fixture(scope="module")
def telemetry() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "telemetry.yaml").read_text())
    return loaded


def test_the_files_are_current() -> None:
    files = rendered()
    assert set((CHART / "dashboards").iterdir()) == {path for path in files if path.suffix == ".json"}
    for path, content in files.items():
        assert path.read_text() == content, f"{path.name}: run `make dashboards`"


@pytest.mark.parametrize("path", [*DASHBOARDS, CHART / "alerts.yaml"], ids=lambda path: path.stem)
def test_expressions_use_metrics_and_labels_of_the_telemetry(path: Path, telemetry: dict[str, Any]) -> None:
    metrics, labels = telemetry["metrics"], telemetry["labels"]
    for expression in expressions(path):
        for name, matchers in _SELECTOR.findall(expression):
            assert base(name, metrics) in metrics.keys() | _PROCESS, (name, expression)
            known = {*metrics.get(base(name, metrics), {"labels": ()})["labels"], *_ADDED}
            for label, value in _MATCHED.findall(matchers):
                assert label in known, (name, label)
                values = labels.get(label, {}).get("values")
                if values and not re.search(r"[$.+]", value):
                    assert set(value.split("|")) <= set(values), (label, value)
        for grouped in _GROUPED.findall(expression):
            assert {label.strip() for label in grouped.split(",") if label.strip()} <= {*labels, *_ADDED}, expression


def test_the_page_shows_every_dashboard_panel_and_alert() -> None:
    lines = (ROOT / "docs" / "observability.md").read_text().splitlines()
    for path in DASHBOARDS:
        assert any(f"(images/dashboard-{path.stem}.png)" in line for line in lines)
        for panel in panels(path):
            row = f"| {panel['title']} | {panel['description']} |"
            assert any(line.startswith(row) for line in lines), f"{row}: make docs/observability.md again"
    shown = [line.split(" ")[1] for line in lines if line.startswith("| Recmesh")]
    rules = yaml.safe_load((CHART / "alerts.yaml").read_text())["groups"][0]["rules"]
    assert shown == [rule["alert"] for rule in rules]


def test_every_metric_is_on_a_dashboard(telemetry: dict[str, Any]) -> None:
    metrics = telemetry["metrics"]
    text = (expression for path in DASHBOARDS for expression in expressions(path))
    shown = {base(name, metrics) for expression in text for name, _ in _SELECTOR.findall(expression)}
    assert set(metrics) - shown == set()


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_panel_is_described_and_asks_the_chosen_data_source(path: Path) -> None:
    dashboard = json.loads(path.read_text())
    assert "__inputs" not in dashboard
    assert [variable["name"] for variable in dashboard["templating"]["list"]][:2] == ["datasource", "namespace"]
    for panel in panels(path):
        assert panel["title"] and panel["fieldConfig"]["defaults"]["unit"], panel
        assert re.fullmatch(r"\S.*\.", panel["description"]), panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert 0 <= panel["gridPos"]["x"] <= 24 - panel["gridPos"]["w"]
        assert all('namespace=~"$namespace"' in target["expr"] for target in panel["targets"]), panel["title"]


def test_ids_and_titles_are_unique() -> None:
    uids = [json.loads(path.read_text())["uid"] for path in DASHBOARDS]
    assert len(set(uids)) == len(DASHBOARDS)
    for path in DASHBOARDS:
        found = [panel["id"] for panel in json.loads(path.read_text())["panels"]]
        assert len(set(found)) == len(found)
        sections = [panel["title"] for panel in panels(path)]
        assert len(set(sections)) == len(sections), path.stem
