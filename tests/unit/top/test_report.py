"""What `recmesh top` shows of pages that were written by hand."""

import io
import re
from datetime import datetime, timezone

import pytest
import yaml
from rich.console import Console

from recmesh.cli.top.report import Report, report
from recmesh.cli.top.scrape import Scrape
from recmesh.cli.top.view import number, shown
from tests.servers import ROOT
from tests.unit.top.pages import histogram, page, scraped

NOW = datetime(2026, 11, 29, 12, 0, 10, tzinfo=timezone.utc)
RELEASE, NEXT = "4dbe2b1b-a7d41a6a", "88557e27-034b43b0"
NAMES = ("as as_call", "um um_call", "recall recall", "rank rank_predict", "cm cm_call")


def as_page(requests: int = 0) -> str:
    """A page of `as` after a number of requests: of 100, 8 fail, 2 are refused, and 20 answers lack um."""
    part = requests // 100
    labels = 'service="as",method="as_call",caller="online"'
    seconds = {"0.01": 45 * part, "0.02": 90 * part, "0.05": 98 * part, "+Inf": 98 * part}
    stages = {"0.002": 50 * part, "0.004": 90 * part, "+Inf": 90 * part}
    return "\n".join(
        [
            f'recmesh_requests_total{{{labels},status="OK"}} {90 * part}',
            f'recmesh_requests_total{{{labels},status="UNAVAILABLE"}} {8 * part}',
            f'recmesh_requests_total{{{labels},status="RESOURCE_EXHAUSTED"}} {2 * part}',
            f'recmesh_refused_requests_total{{service="as",reason="limit"}} {2 * part}',
            'recmesh_requests_in_flight{service="as"} 3',
            'recmesh_requests_limit{service="as"} 256.0',
            'recmesh_serving{service="as"} 1',
            "recmesh_event_loop_lag_seconds 0.0004",
            histogram("recmesh_request_seconds", 'service="as",method="as_call"', seconds),
            histogram("recmesh_stage_seconds", 'stage="um"', stages),
            f'recmesh_stage_failures_total{{stage="um",status="DEADLINE_EXCEEDED"}} {10 * part}',
            f'recmesh_degraded_total{{part="um"}} {18 * part}',
            'recmesh_degraded_total{part="rank"} 5',
            f"recmesh_unknown_users_total {9 * part}",
            f"recmesh_empty_answers_total {0 * part}",
            "",
        ]
    )


def rank_page(release: str = RELEASE, runs: int = 0) -> str:
    created = NOW.timestamp() - 7_200
    return "\n".join(
        [
            'recmesh_requests_in_flight{service="rank"} 0',
            'recmesh_requests_limit{service="rank"} 8',
            'recmesh_serving{service="rank"} 0',
            "recmesh_event_loop_lag_seconds 0.012",
            f'recmesh_release_active{{service="rank",release="{release}"}} 1',
            'recmesh_release_active{service="rank",release="old"} 0',
            f'recmesh_release_created_timestamp_seconds{{release="{release}"}} {created}',
            histogram("recmesh_rank_backend_seconds", 'backend="onnx"', {"0.002": runs, "+Inf": runs}),
            "",
        ]
    )


def between(before: str, after: str) -> Report:
    """The report about one process, over 10 seconds."""
    return report([scraped("a:1", page(0, before))], [scraped("a:1", page(10, after))], NOW)


def text(of: Report, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(shown(of), highlight=False)
    output = console.file
    assert isinstance(output, io.StringIO)
    return re.sub(r"(?m) +$", "", output.getvalue())


def test_requests_of_a_service() -> None:
    found = between(as_page(100), as_page(300)).services["as as_call"]
    assert (found.calls, found.per_second) == (200, 20)
    assert found.failed == {"RESOURCE_EXHAUSTED": 0.4, "UNAVAILABLE": 1.6}
    assert found.shed == {"limit": 0.4}
    assert (found.in_flight, found.limit) == (3, 256)
    # Of 196 requests that were not refused, 90 took up to 10 ms and 90 up to 20 ms.
    assert found.p50_ms == pytest.approx(10 + 10 * (98 - 90) / 90)
    assert found.p99_ms == pytest.approx(20 + 30 * (0.99 * 196 - 180) / 16)


def test_calls_of_a_stage_are_those_that_succeed_and_those_that_fail() -> None:
    found = between(as_page(100), as_page(300)).stages["um"]
    assert (found.calls, found.per_second, found.failed) == (200, 20, {"DEADLINE_EXCEEDED": 2})
    # The 90th of 180 calls is the 90th of 100 up to 2 ms.
    assert found.p50_ms == pytest.approx(1.8)
    assert found.p99_ms == pytest.approx(2 + 2 * (178.2 - 100) / 80)


def test_shares_are_those_of_successful_answers() -> None:
    answers = between(as_page(100), as_page(300)).answers
    assert answers is not None
    assert answers.answers == 180
    assert answers.degraded == {"um": 0.2}
    assert (answers.unknown_users, answers.empty) == (0.1, 0)


def test_runs_of_the_ranker_and_the_release() -> None:
    found = between(rank_page(), rank_page(runs=40))
    assert found.stores["ranker onnx"].per_second == 4
    assert found.stores["ranker onnx"].p50_ms == pytest.approx(1)
    assert [(release.release, release.services, release.age_seconds) for release in found.releases] == [
        (RELEASE, ["rank"], 7_200)
    ]
    assert f"release {RELEASE}, 2 h old" in text(found)
    assert (found.mode, found.answers) == ("services", None)
    assert found.processes[0].not_serving == ["rank"]
    assert "rank; not serving: rank" in text(found)


def test_several_pods_and_services_are_added() -> None:
    before = [scraped("a:1", page(0, as_page())), scraped("b:1", page(0, as_page(100))), scraped("c:1", "timed out")]
    after = [scraped("a:1", page(10, as_page(100))), scraped("b:1", page(10, as_page(300))), scraped("c:1", "refused")]
    found = report(before, after, NOW)
    requests = found.services["as as_call"]
    assert (requests.calls, requests.per_second, requests.in_flight, requests.limit) == (300, 30, 6, 512)
    assert found.answers is not None and found.answers.degraded == {"um": 0.2}
    assert [process.error for process in found.processes] == ["", "", "refused"]
    assert "2 of 3 targets answer" in text(found)
    assert "c:1 does not answer: refused" in text(found)


def test_services_may_have_different_releases_during_a_switch() -> None:
    pages = [page(0, rank_page()), page(0, rank_page(NEXT).replace('service="rank"', 'service="recall"'))]
    found = report([], [scraped(f"p:{port}", of) for port, of in enumerate(pages, 1)], NOW)
    assert {release.release: release.services for release in found.releases} == {RELEASE: ["rank"], NEXT: ["recall"]}
    assert f"release {RELEASE} (rank), 2 h old" in text(found)


def test_a_process_with_several_services_is_compact() -> None:
    both = as_page() + 'recmesh_requests_in_flight{service="um"} 0\n'
    found = between(both, both)
    assert (found.mode, list(found.services)) == ("compact", ["as as_call", "um um_call"])


@pytest.mark.parametrize(
    ("scrapes", "targets"),
    [
        # The port of um is not missed where the process of `as` runs um as well.
        (
            [
                scraped("h:2", page(0, as_page() + 'recmesh_requests_in_flight{service="um"} 0\n'), "as"),
                scraped("h:1", "refused", "um"),
            ],
            ["h:2"],
        ),
        ([scraped("h:2", page(0, as_page()), "as"), scraped("h:1", "refused", "um")], ["h:2", "h:1"]),
        # A target that the user has named is shown in any case.
        ([scraped("h:2", page(0, as_page())), scraped("h:1", "refused")], ["h:2", "h:1"]),
    ],
)
def test_default_targets_are_missed_unless_another_process_has_their_service(
    scrapes: list[Scrape], targets: list[str]
) -> None:
    assert [process.target for process in report([], scrapes, NOW).processes] == targets


def test_without_traffic_there_are_dashes() -> None:
    output = text(between(as_page(100), as_page(100)))
    assert "nan" not in output.lower()
    assert re.search(r"(?m)^ as as_call +0 +0 +- +- +3/256 +0$", output)
    assert re.search(r"(?m)^ um +0 +0 +- +-$", output)
    assert "degraded -; unknown users -; empty -" in output


def test_before_the_second_reading_rates_are_dashes() -> None:
    output = text(report([], [scraped("a:1", page(0, as_page(100)))], NOW))
    assert "rates after the next reading" in output
    assert re.search(r"(?m)^ as as_call +- +- +- +- +3/256 +-$", output)


def test_a_mesh_that_does_not_answer() -> None:
    found = report([], [scraped("a:1", "connection refused")], NOW)
    assert (found.mode, found.services, found.releases, found.answers) == ("", {}, [], None)
    assert "a:1 does not answer: connection refused" in text(found)


def test_the_report_in_80_columns() -> None:
    lines = text(between(as_page(100), as_page(300))).splitlines()
    assert lines[0] == "recmesh top  2026-11-29 12:00:10 UTC  rates over 10.0 s  1 of 1 targets answer"
    assert re.search(r"^ as as_call +20\.0 +2\.00 +10\.9 +46\.3 +3/256 +0\.40$", lines[3])
    assert lines[6] == "answers  degraded um 20.0 %; unknown users 10.0 %; empty 0.0 %"
    failed = "failed/s  as as_call: RESOURCE_EXHAUSTED 0.40, UNAVAILABLE 1.60; stage um: DEADLINE_EXCEEDED 2.00"
    assert failed in text(between(as_page(100), as_page(300)), width=120).splitlines()
    assert "shed/s  as as_call: limit 0.40" in lines
    assert max(map(len, lines)) <= 80


def test_names_are_never_cut() -> None:
    """The widest rows fit 80 columns; on 40 columns they are folded."""
    services = "".join(
        f'recmesh_requests_in_flight{{service="{name}"}} 256\nrecmesh_requests_limit{{service="{name}"}} 256\n'
        for name in ("as", "um", "recall", "rank", "cm")
    )
    labels = 'service="rank",method="rank_predict",caller="online"'
    counted = f'recmesh_requests_total{{{labels},status="RESOURCE_EXHAUSTED"}} '
    slow = {"2.5": 0, "+Inf": 123_456}
    paddle = histogram("recmesh_rank_backend_seconds", 'backend="paddle-serving"', slow)
    before = (
        services + counted + "0\n" + histogram("recmesh_rank_backend_seconds", 'backend="paddle-serving"', {"+Inf": 0})
    )
    found = between(before, services + counted + "123456\n" + paddle)
    output = text(found)
    assert max(map(len, output.splitlines())) <= 80
    for name in (*NAMES, "ranker paddle-serving"):
        assert re.search(rf"(?m)^ {name} ", output), name
    narrow = text(found, 40)
    assert max(map(len, narrow.splitlines())) <= 40
    assert "…" not in output + narrow
    assert "RESOURCE_EXHAUSTED" in narrow


@pytest.mark.parametrize(
    ("value", "shown_as"),
    [(None, "-"), (0.0, "0"), (0.2, "0.20"), (9.987, "9.99"), (12.34, "12.3"), (250.4, "250"), (12345.6, "12,346")],
)
def test_numbers(value: float | None, shown_as: str) -> None:
    assert number(value) == shown_as


def test_the_metrics_are_those_of_the_services() -> None:
    described = yaml.safe_load((ROOT / "telemetry.yaml").read_text())["metrics"]
    source = (ROOT / "recmesh/cli/top/report.py").read_text()
    used = set(re.findall(r'"(recmesh_\w+)"', source))
    assert len(used) > 12
    assert used <= set(described)
