"""Each alert fires when it should, and stays quiet when it should; each has a section in docs/runbooks.md."""

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from local.prometheus import program
from tests.servers import ROOT

RULES = ROOT / "charts" / "recmesh" / "alerts.yaml"
RUNBOOKS = ROOT / "docs" / "runbooks.md"

Series = Mapping[str, str]
"""Values in the notation of promtool, by series: `0+5x60` begins at 0 and grows by 5 for 60 intervals."""


def _requests(service: str = "as", caller: str = "online", **values: str) -> Series:
    """recmesh_requests_total by status."""
    labels = f'service="{service}", caller="{caller}", method="m"'
    return {f'recmesh_requests_total{{{labels}, status="{status}"}}': value for status, value in values.items()}


def _in_time(per_minute: int, length: int) -> Series:
    """A thousand requests per interval, of which some are in time."""
    return {
        'recmesh_request_seconds_bucket{service="as", method="m", le="0.25"}': f"0+{per_minute}x{length}",
        'recmesh_request_seconds_count{service="as", method="m"}': f"0+1000x{length}",
    }


def _store(failed: str, answered: str) -> Series:
    labels = 'store="redis", operation="user"'
    return {
        f'recmesh_store_failures_total{{{labels}, status="UNAVAILABLE"}}': failed,
        f"recmesh_store_seconds_count{{{labels}}}": answered,
    }


def _shown(distinct: int, per_minute: int) -> Series:
    return {
        "recmesh_distinct_recommended_items": f"{distinct}x130",
        'recmesh_release_items{release="r"}': "1000x130",
        "recmesh_recommended_items_total": f"0+{per_minute}x130",
    }


def _serving(**values: str) -> Series:
    return {f'recmesh_serving{{service="as", instance="{instance}"}}': value for instance, value in values.items()}


def _applied(in_time: int) -> Series:
    """A hundred entries per interval, of which some have an effect within five seconds and the others within ten."""
    bucket = "recmesh_feed_apply_seconds_bucket"
    return {
        f'{bucket}{{le="5.0"}}': f"0+{in_time}x60",
        **{f'{bucket}{{le="{le}"}}': "0+100x60" for le in ("10.0", "+Inf")},
    }


@dataclass(frozen=True)
class Case:
    """Series with which an alert fires, and series with which it does not, after some intervals of some minutes."""

    fires: Sequence[Series]
    quiet: Sequence[Series]
    intervals: int = 60
    minutes: int = 1


_OLD, _NEW = "1x800", "1x700 2400000x100"
_FAILURES, _LIMIT = 'recmesh_release_failures_total{service="rank"}', 'recmesh_requests_limit{service="as"}'
_DEGRADED, _DRIFT = 'recmesh_degraded_total{part="rank"}', 'recmesh_input_drift{field="user.age"}'
_NOT_APPLIED = "recmesh_feed_apply_failures_total"
_LOST, _NO_POINTER = 'recmesh_store_missing{store="redis"}', 'recmesh_release_missing{service="rank"}'
_ACTIVE = 'recmesh_release_active{release="r", service="rank"}'
_STARTER = 'recmesh_release_active{release="starter-1a2b3c4d", service="rank"}'
_CREATED = 'recmesh_release_created_timestamp_seconds{release="r"}'

CASES = {
    "RecmeshErrorBudgetBurn": Case(
        fires=[
            _requests(OK="0+980x400", UNAVAILABLE="0+20x400"),
            _requests(OK="0+992x400", UNAVAILABLE="0+8x400"),
            _requests(OK="0x400", INTERNAL="0+1x400"),
        ],
        quiet=[
            _requests(OK="0+999x400", UNAVAILABLE="0+1x400"),
            _requests(OK="0+500x400", INVALID_ARGUMENT="0+250x400", CANCELLED="0+250x400"),
            {**_requests(OK="0+500x400"), **_requests(caller="batch", RESOURCE_EXHAUSTED="0+500x400")},
            _requests(OK="0+980x400", UNAVAILABLE="0+20x360 7200x40"),
            _requests(service="recall", OK="0+500x400", UNAVAILABLE="0+500x400"),
        ],
        intervals=395,
    ),
    "RecmeshErrorBudgetSlowBurn": Case(
        fires=[_requests(OK="0+998x1000", UNAVAILABLE="0+2x1000")],
        quiet=[_requests(OK="0+9995x1000", UNAVAILABLE="0+5x1000")],
        intervals=900,
        minutes=5,
    ),
    "RecmeshLatencyBudgetBurn": Case(
        fires=[_in_time(800, 400), _in_time(930, 400)], quiet=[_in_time(995, 400), _in_time(950, 400)], intervals=395
    ),
    "RecmeshLatencyBudgetSlowBurn": Case(
        fires=[_in_time(980, 1000)], quiet=[_in_time(995, 1000)], intervals=900, minutes=5
    ),
    "RecmeshServiceDown": Case(
        fires=[_serving(a="1x10 stale"), _serving(a="1x10 0x60"), _serving(a="1x10 0x60", b="1x10 stale")],
        quiet=[_serving(a="0x60", b="1x60"), _serving(a="0x60"), _serving(a="1x10 0x1 1x60")],
    ),
    "RecmeshProcessNotServing": Case(
        fires=[_serving(a="0x60", b="1x60")], quiet=[_serving(a="1x60"), _serving(a="1x40 0x12 1x10")]
    ),
    "RecmeshDegradedAnswers": Case(
        fires=[{_DEGRADED: "0+10x60", **_requests(OK="0+100x60")}],
        quiet=[{_DEGRADED: "0+1x60", **_requests(OK="0+100x60")}, _requests(OK="0+100x60")],
    ),
    "RecmeshEmptyAnswers": Case(
        fires=[{"recmesh_empty_answers_total": "0+5x60", **_requests(OK="0+100x60")}],
        quiet=[{"recmesh_empty_answers_total": "0x60", **_requests(OK="0+100x60")}],
    ),
    "RecmeshCoverageCollapse": Case(fires=[_shown(20, 200)], quiet=[_shown(200, 200), _shown(20, 20)], intervals=125),
    "RecmeshInputDrift": Case(
        fires=[{_DRIFT: "0.3x90"}], quiet=[{_DRIFT: "0.2x90"}, {_DRIFT: "NaN " * 90}], intervals=85
    ),
    "RecmeshReleaseNotLoading": Case(
        fires=[{_FAILURES: "0+1x60"}], quiet=[{_FAILURES: "0x40 1x20"}, {_FAILURES: "0+1x30 30x30"}]
    ),
    "RecmeshReleaseTooOld": Case(
        fires=[{_CREATED: _OLD}], quiet=[{_CREATED: "1000000x800"}, {_CREATED: _NEW}], intervals=740, minutes=60
    ),
    "RecmeshNotTrained": Case(
        fires=[{_STARTER: "1x100"}],
        quiet=[{_STARTER: "1x60 0x40"}, {_STARTER: "1x60 stale"}, {_ACTIVE: "1x100"}],
        intervals=95,
        minutes=5,
    ),
    "RecmeshIngestionTooOld": Case(
        fires=[{"recmesh_ingestion_timestamp_seconds": _OLD}],
        quiet=[{"recmesh_ingestion_timestamp_seconds": value} for value in ("0x800", _NEW)],
        intervals=740,
        minutes=60,
    ),
    "RecmeshDataLost": Case(
        fires=[
            {_LOST: "0x20 1x40"},
            {_NO_POINTER: "0x20 1x40", _ACTIVE: "1x60"},
            {_LOST.replace("redis", "model_store"): "1x60", _NO_POINTER: "1x60", _ACTIVE: "1x60"},
        ],
        quiet=[
            {_LOST: "0x60"},
            {_LOST: "0x54 1x3 0x3"},
            {_NO_POINTER: "0x60", _ACTIVE: "1x60"},
            {_NO_POINTER: "1x60"},  # before the first training
        ],
    ),
    "RecmeshCongestion": Case(
        fires=[{_LIMIT: "256x30 50x60"}], quiet=[{_LIMIT: "256x90"}, {_LIMIT: "256x50 50x2 256x60"}]
    ),
    "RecmeshRefusedRequests": Case(
        fires=[_requests("recall", OK="0+95x60", RESOURCE_EXHAUSTED="0+5x60")],
        quiet=[{**_requests(OK="0+95x60"), **_requests(caller="batch", RESOURCE_EXHAUSTED="0+50x60")}],
    ),
    "RecmeshStoreFailures": Case(
        fires=[_store("0+5x60", "0+95x60"), _store("0+5x60", "0x60")], quiet=[_store("0x60", "0+95x60")]
    ),
    "RecmeshFeedNotApplied": Case(
        fires=[{_NOT_APPLIED: "0+3x60"}, _applied(in_time=98)],
        quiet=[{_NOT_APPLIED: "0x60"}, {_NOT_APPLIED: "0x30 4x30"}, {_NOT_APPLIED: "0+3x40 120x20"}, _applied(100)],
    ),
    "RecmeshEventLoopLag": Case(
        fires=[{"recmesh_event_loop_lag_seconds": "0.2x60"}], quiet=[{"recmesh_event_loop_lag_seconds": "0.01x60"}]
    ),
    "RecmeshCertificateEnds": Case(
        fires=[{"recmesh_certificate_expiry_timestamp_seconds": "1000x60"}],
        quiet=[
            {"recmesh_certificate_expiry_timestamp_seconds": "0x60"},
            {"recmesh_certificate_expiry_timestamp_seconds": "1300000x60"},
        ],
    ),
}


@pytest.fixture(scope="module")
def rules() -> dict[str, dict[str, Any]]:
    """The alerts of the rule file, by name."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def test_every_alert_has_a_case(rules: Mapping[str, Any]) -> None:
    assert list(CASES) == list(rules)


def test_alerts_fire_exactly_when_they_should(rules: Mapping[str, Any], tmp_path: Path) -> None:
    files = [_file(tmp_path, name, case, rules[name]) for name, case in CASES.items()]
    result = subprocess.run([program("promtool"), "test", "rules", *files], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def _file(folder: Path, name: str, case: Case, rule: Mapping[str, Any]) -> Path:
    """Write the tests of one alert. They load no other rule, since promtool evaluates all rules in each interval."""
    alone = folder / f"{name}-rule.yaml"
    alone.write_text(yaml.safe_dump({"groups": [{"name": "alone", "rules": [rule]}]}))
    tests = [
        *(_test(name, case, series, fires=True) for series in case.fires),
        *(_test(name, case, series, fires=False) for series in case.quiet),
    ]
    interval = f"{case.minutes}m"
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(alone)], "evaluation_interval": interval, "tests": tests}))
    return file


def _test(name: str, case: Case, series: Series, *, fires: bool) -> dict[str, Any]:
    expected = [{"labels": f'{{alertname="{name}"}}', "value": 1}] if fires else []
    return {
        "name": f"{name} {'fires' if fires else 'is quiet'}",
        "interval": f"{case.minutes}m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": f'max by (alertname) (ALERTS{{alertname="{name}", alertstate="firing"}} == 1)',
                "eval_time": f"{case.intervals * case.minutes}m",
                "exp_samples": expected,
            }
        ],
    }


def test_every_alert_has_a_runbook_and_every_runbook_an_alert(rules: Mapping[str, Any]) -> None:
    sections = re.findall(r"(?m)^## (Recmesh\w+)$", RUNBOOKS.read_text())
    assert sections == list(rules)
    for name, rule in rules.items():
        assert rule["annotations"]["runbook_url"].endswith(f"/docs/runbooks.md#{name.lower()}")
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["description"].endswith(".")


def test_every_runbook_says_what_to_check_and_what_to_do() -> None:
    for section in RUNBOOKS.read_text().split("\n## Recmesh")[1:]:
        assert re.findall(r"(?m)^\*\*(Meaning|Check|Action)\.\*\*", section) == ["Meaning", "Check", "Action"], section
