"""`recmesh top` on a running mesh: what it counts is what was asked."""

import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone

import grpc
import pytest

from local.ports import free_ports
from recmesh.cli.top.report import Report, report
from recmesh.cli.top.scrape import Scraper, Target
from recmesh.contract import DEFAULT_RECOMMENDATIONS
from tests.mesh.conftest import ask_as
from tests.mesh.test_faults import wait_until_not_degraded
from tests.processes import Service
from tests.servers import ROOT, wait_until
from tests.shop import Shop

NOBODY = ("nobody", "never heard of")


@pytest.fixture(params=["compact", "apart"])
def processes(request: pytest.FixtureRequest) -> dict[str, Service]:
    """The processes of a mesh by name: a single one, `as`, or five."""
    running = request.getfixturevalue(request.param)
    return {"as": running} if isinstance(running, Service) else running


def targets(processes: Mapping[str, Service]) -> list[str]:
    return [f"127.0.0.1:{service.ports['metrics']}" for service in processes.values()]


def command(*options: str) -> list[str]:
    return [sys.executable, "-m", "recmesh", "top", *options]


def ask(target: str, shop: Shop) -> None:
    """Six answers: for three stored users, for two that are not, and for no user. Then a request that is refused."""
    for user_id in (*shop.user_ids[:3], *NOBODY, ""):
        assert len(ask_as(target, user_id).item_infos) == DEFAULT_RECOMMENDATIONS
    with pytest.raises(grpc.RpcError) as refused:
        ask_as(target, size=100_000)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_requests_between_two_readings_are_counted_exactly(processes: dict[str, Service], trained_shop: Shop) -> None:
    scraper = Scraper([Target(name) for name in targets(processes)])
    before = scraper.scrape()
    ask(processes["as"].target("as"), trained_shop)
    now = datetime.now(timezone.utc)
    found = report(before, scraper.scrape(), now)

    requests = found.services["as as_call"]
    assert found.seconds is not None
    assert requests.calls == 7
    assert requests.per_second is not None
    # The interval of the report is that of the process with the longest one.
    assert requests.per_second > 6.99 / found.seconds
    assert requests.failed == {"INVALID_ARGUMENT": pytest.approx(requests.per_second / 7)}
    assert (requests.in_flight, requests.shed) == (0, {})
    assert requests.p50_ms is not None and requests.p99_ms is not None
    assert 0 < requests.p50_ms <= requests.p99_ms
    # um is not asked without an id.
    assert {name: stage.calls for name, stage in found.stages.items()} == {"um": 5, "recall": 6, "rank": 6, "cm": 6}
    assert all(stage.failed == {} for stage in found.stages.values())
    assert found.answers is not None
    assert (found.answers.answers, found.answers.degraded, found.answers.empty) == (6, {}, 0)
    assert found.answers.unknown_users == pytest.approx(2 / 6)
    assert found.stores["redis user"].calls == 5
    assert found.stores["ranker onnx"].calls == 6
    assert_called_by_grpc(found, 0 if len(processes) == 1 else 1)
    assert_release(found, now, trained_shop)
    assert [process.error for process in found.processes] == [""] * len(processes)
    assert [name for process in found.processes for name in process.not_serving] == []


def assert_called_by_grpc(found: Report, calls: int) -> None:
    """In one process, the stages are no requests."""
    assert found.mode == ("services" if calls else "compact")
    assert list(found.services) == ["as as_call", "um um_call", "recall recall", "rank rank_predict", "cm cm_call"]
    assert found.services["um um_call"].calls == 5 * calls
    assert found.services["rank rank_predict"].calls == 6 * calls
    assert found.services["cm cm_call"].calls == 6 * calls


def assert_release(found: Report, now: datetime, shop: Shop) -> None:
    release = str(shop.store.active())
    services = ["recall", "rank"] if found.mode == "services" else ["compact"]
    assert [(active.release, sorted(active.services)) for active in found.releases] == [(release, sorted(services))]
    created = shop.store.manifest(release).created
    assert found.releases[0].age_seconds == pytest.approx((now - created).total_seconds(), abs=1)


def test_a_stage_that_fails_shows_in_its_row_and_in_the_answers(apart: dict[str, Service], trained_shop: Shop) -> None:
    scraper = Scraper([Target(name) for name in targets(apart)])
    target, user_id = apart["as"].target("as"), trained_shop.user_ids[0]
    wait_until_not_degraded(target, apart["as"], user_id)
    scrapes = [scraper.scrape()]
    apart["cm"].signal_group(signal.SIGSTOP)
    try:
        for _ in range(2):
            assert list(ask_as(target, user_id, timeout=2).degraded) == ["cm"]
        scrapes.append(scraper.scrape())
    finally:
        apart["cm"].signal_group(signal.SIGCONT)
    frozen = report(scrapes[0], scrapes[1], datetime.now(timezone.utc))

    assert frozen.answers is not None and frozen.answers.degraded == {"cm": 1.0}
    stage = frozen.stages["cm"]
    assert (stage.calls, sum(stage.failed.values()), stage.p99_ms) == (2, stage.per_second, None)
    assert frozen.stages["rank"].failed == {}
    errors = dict(zip(apart, (process.error for process in frozen.processes), strict=True))
    assert errors["cm"] == "timed out"
    assert "cm cm_call" not in frozen.services

    def answered() -> bool:
        scrapes.append(scraper.scrape())
        return all(scrape.page for scrape in scrapes[-1])

    wait_until(answered, apart["cm"], "cm")
    back = report(scrapes[-2], scrapes[-1], datetime.now(timezone.utc))
    # A process that has come back has rates after its next reading.
    assert (back.services["cm cm_call"].per_second, back.services["um um_call"].per_second) == (None, 0)
    wait_until_not_degraded(target, apart["as"], user_id)


@contextlib.contextmanager
def started(options: Sequence[str], stdout: int) -> "Iterator[subprocess.Popen[str]]":
    """The command, which is killed at the end of the block."""
    variables = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    variables["TERM"] = "xterm"
    with subprocess.Popen(
        command(*options), cwd=ROOT, env=variables, text=True, stdout=stdout, stderr=subprocess.PIPE
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_lines_of_json_add_up_to_the_requests(compact: Service, trained_shop: Shop) -> None:
    (target,), release = targets({"as": compact}), str(trained_shop.store.active())
    with started(["--json", "--interval", "0.3", "--target", target], subprocess.PIPE) as process:
        assert process.stdout is not None
        lines = (json.loads(line) for line in process.stdout)
        # The command has read twice when its first line arrives.
        assert next(lines)["releases"][0]["release"] == release
        ask(compact.target("as"), trained_shop)
        counted = 0
        while counted < 7:
            counted += next(lines)["services"]["as as_call"]["calls"]
        assert counted == 7
        assert next(lines)["services"]["as as_call"]["calls"] == 0
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
        assert (process.returncode, errors) == (0, "")


def test_a_terminal_shows_the_mesh_until_ctrl_c(apart: dict[str, Service], trained_shop: Shop) -> None:
    main, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
    shown = b""
    with started(["--interval", "0.3", "--target", ",".join(targets(apart))], terminal) as process:
        os.close(terminal)
        while b"127.0.0.1" not in shown.partition(b"rates over")[2]:
            shown += os.read(main, 65536)
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(OSError):  # the end of a terminal
            while more := os.read(main, 65536):
                shown += more
        _, errors = process.communicate()
        assert (process.returncode, errors) == (0, "")
    os.close(main)
    # The alternate screen, and back.
    assert shown.startswith(b"\x1b[?1049h")
    assert b"\x1b[?1049l" in shown
    assert b"Abort" not in shown
    text = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", shown.decode())
    for name in ("as as_call", "rank rank_predict", "redis user", "milvus search", str(trained_shop.store.active())):
        assert name in text
    assert "mode services" in text


def test_a_pipe_gets_text_without_control_codes(compact: Service, trained_shop: Shop) -> None:
    (target,) = targets({"as": compact})
    (silent,) = free_ports(1)
    options = ["--once", "--interval", "0.3", "--target", target, "--target", f"127.0.0.1:{silent}"]
    ended = subprocess.run(command(*options), cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "\x1b" not in ended.stdout
    assert max(map(len, ended.stdout.splitlines())) <= 80
    assert "1 of 2 targets answer" in ended.stdout
    assert f"127.0.0.1:{silent} does not answer: connection refused" in ended.stdout
    assert f"mode compact; release {trained_shop.store.active()}, " in ended.stdout


def test_once_without_a_mesh_is_an_error() -> None:
    (silent,) = free_ports(1)
    variables = {**os.environ, "RECMESH_METRICS_TARGETS": f"127.0.0.1:{silent},"}
    once = command("--once", "--interval", "0.2")
    ended = subprocess.run(once, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (6, "")
    assert ended.stderr == (
        f"recmesh: no metrics port answers: 127.0.0.1:{silent} (connection refused): "
        "start the mesh, or name ports with --target HOST:PORT\n"
    )


def test_without_the_package_that_reads_pages_the_extra_is_named() -> None:
    code = "import sys; sys.modules['prometheus_client'] = None; from recmesh.__main__ import main; sys.exit(main())"
    ended = subprocess.run([sys.executable, "-c", code, "top"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "recmesh: this command needs the extra \"cli\": pip install 'recmesh[cli]'\n"
