"""telemetry.yaml describes the metrics of the code, and docs/telemetry.md is generated from it."""

import ast
import re
import subprocess
import sys
from typing import Any

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from recmesh import spans
from recmesh.contract import METHOD_PATHS, PORTS
from recmesh.features import CHANNELS
from recmesh.retrieval.scenarios import LIST_CHANNELS
from recmesh.serving import metrics
from tests.servers import ROOT

# `write` is log.info or log.error in the guard.
_LOGGING = re.compile(r"(?:self\._)?log\.(debug|info|warning|error)|write")


@pytest.fixture(scope="module")
def telemetry() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "telemetry.yaml").read_text())
    return loaded


def defined() -> dict[str, tuple[str, list[str], str]]:
    """Type, labels and meaning of the metrics of the code, by the names that scrapes show."""
    found = [metric for metric in vars(metrics).values() if isinstance(metric, MetricWrapperBase)]
    families = [(metric, next(iter(metric.describe()))) for metric in found]
    return {
        family.name + "_total" * (family.type == "counter"): (
            family.type,
            list(metric._labelnames),
            family.documentation,
        )
        for metric, family in families
    }


def test_every_metric_is_described_with_its_type_labels_and_meaning(telemetry: dict[str, Any]) -> None:
    described = {name: (of["type"], of["labels"], of["meaning"]) for name, of in telemetry["metrics"].items()}
    assert described == defined()


def test_units_follow_from_names(telemetry: dict[str, Any]) -> None:
    for name, metric in telemetry["metrics"].items():
        if name.endswith("_timestamp_seconds"):
            assert metric["unit"] == "seconds since 1970"
        else:
            assert (metric["unit"] == "seconds") == name.endswith("_seconds")


def test_every_label_is_described(telemetry: dict[str, Any]) -> None:
    used = {label for metric in telemetry["metrics"].values() for label in metric["labels"]}
    assert used == set(telemetry["labels"])
    values = {name: label.get("values") for name, label in telemetry["labels"].items()}
    assert set(values["service"]) == {*PORTS, "compact", "paddle-serving"}
    assert set(values["channel"]) == {*CHANNELS, *LIST_CHANNELS.values()}


def test_every_attribute_of_recmesh_is_described(telemetry: dict[str, Any]) -> None:
    code = {value for name, value in vars(spans).items() if name.isupper() and str(value).startswith("recmesh.")}
    assert {name for name in telemetry["span_attributes"] if name.startswith("recmesh.")} == code


def test_the_spans_of_requests_are_those_of_the_contract(telemetry: dict[str, Any]) -> None:
    requests = {name for name, span in telemetry["spans"].items() if "server" in span["kinds"]}
    gateway = "baidu.paddle_serving.pipeline_serving.PipelineService/inference"
    assert requests == {*(path[1:] for path in METHOD_PATHS.values()), gateway}
    assert {"um", "recall", "rank", "cm"} <= set(telemetry["spans"])


def logged() -> set[str]:
    """The fields that the code gives to its log lines, besides those of the settings."""
    paths = [path for folder in ("recmesh", "services", "jobs/controller") for path in (ROOT / folder).rglob("*.py")]
    nodes = [node for path in paths for node in ast.walk(ast.parse(path.read_text()))]
    calls = [node for node in nodes if isinstance(node, ast.Call) and _LOGGING.fullmatch(ast.unparse(node.func))]
    return {keyword.arg for call in calls for keyword in call.keywords if keyword.arg}


def test_every_field_of_log_lines_is_described(telemetry: dict[str, Any]) -> None:
    added = {"event", "level", "timestamp", "service", "trace_id", "span_id", "log_id", "exception"}
    assert set(telemetry["log_fields"]) == added | (logged() - {"exc_info"})


def test_the_page_is_current() -> None:
    page = subprocess.run(
        [sys.executable, "charts/telemetry_page.py"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert (ROOT / "docs" / "telemetry.md").read_text() == page.stdout, "run `make telemetry`"
