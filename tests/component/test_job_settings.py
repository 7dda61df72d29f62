"""Settings that all jobs have in common with the services: the log level, and where spans go."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from recmesh.dataset import synthetic
from recmesh.errors import DataError, SettingsError
from tests.otlp import Receiver, Tree, grpc_receiver, tree
from tests.servers import ROOT, RedisServer, start_redis

_JOBS = ("archive", "data", "import_model", "ingest", "secrets", "train")


def job(name: str, *arguments: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    python = ROOT / ".venv-train/bin/python" if name in ("import_model", "train") else Path(sys.executable)
    command = [str(python), "-m", f"jobs.{name}", *arguments]
    variables = {**os.environ, **environment}
    return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic(tmp_path_factory.mktemp("data") / "shop", users=200, products=300)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = start_redis(tmp_path)
    yield server
    server.stop()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with grpc_receiver() as receiver:
        yield receiver


@pytest.mark.parametrize("name", _JOBS)
def test_every_job_refuses_an_unknown_log_level(name: str) -> None:
    required = {
        "archive": ["--archive", "a"],
        "data": ["synthetic", "folder"],
        "import_model": ["--dataset", "d"],
        "ingest": ["--dataset", "d"],
        "secrets": ["--spec", "s"],
        "train": ["--dataset", "d"],
    }
    result = job(name, *required[name], environment={"RECMESH_LOG_LEVEL": "loud"})
    assert result.returncode == SettingsError.exit_code
    expected = f"{name}: RECMESH_LOG_LEVEL: Input should be 'debug', 'info', 'warning' or 'error'"
    assert result.stderr.splitlines() == [expected]


def test_the_log_level_decides_whether_progress_is_printed(shop: Path, redis: RedisServer) -> None:
    def output(level: str) -> list[str]:
        environment = {"RECMESH_REDIS_URL": redis.url, "RECMESH_LOG_LEVEL": level}
        result = job("ingest", "--dataset", str(shop), "--only", "redis", environment=environment)
        assert result.returncode == 0, result.stderr
        return result.stdout.splitlines()

    assert [line for line in output("info") if line.startswith("Redis users")]
    assert output("warning") == []


def test_a_result_is_printed_at_every_level(tmp_path: Path) -> None:
    result = job("data", "synthetic:200x300", str(tmp_path / "set"), environment={"RECMESH_LOG_LEVEL": "error"})
    assert (result.returncode, result.stdout, result.stderr) == (0, f"data set: {tmp_path}/set\n", "")


def test_a_run_is_a_trace_with_its_steps(shop: Path, redis: RedisServer, receiver: Receiver) -> None:
    environment = {
        "RECMESH_REDIS_URL": redis.url,
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
        "OTEL_RESOURCE_ATTRIBUTES": "k8s.pod.name=ingest-1",
    }
    result = job("ingest", "--dataset", str(shop), "--only", "redis", environment=environment)
    assert result.returncode == 0, result.stderr
    steps = ["Redis histories", "Redis items", "Redis users", "merging the archive", "reading the data set"]
    expected: list[Tree] = [("jobs.ingest", [(step, []) for step in [*steps, "waiting for Redis"]])]
    assert tree(receiver.spans) == expected
    assert {span.resource["service.name"] for span in receiver.spans} == {"ingest"}
    assert {span.resource["k8s.pod.name"] for span in receiver.spans} == {"ingest-1"}
    assert not any(span.failed for span in receiver.spans)


@pytest.mark.parametrize(
    ("name", "arguments"), [("archive", ["--archive", "archive"]), ("data", ["synthetic:200x300", "set"])]
)
def test_other_jobs_are_recorded_as_well(
    name: str, arguments: list[str], tmp_path: Path, redis: RedisServer, receiver: Receiver
) -> None:
    environment = {"RECMESH_REDIS_URL": redis.url, "RECMESH_OTLP_ENDPOINT": receiver.endpoint}
    paths = [*arguments[:-1], str(tmp_path / arguments[-1])]
    result = job(name, *paths, environment=environment)
    assert result.returncode == 0, result.stderr
    (root,) = [span for span in receiver.spans if not span.parent_id]
    assert (root.name, root.kind, root.resource["service.name"]) == (f"jobs.{name}", "internal", name)


def test_a_run_that_fails_is_exported_with_the_class_of_its_error(receiver: Receiver, tmp_path: Path) -> None:
    environment = {"RECMESH_OTLP_ENDPOINT": receiver.endpoint}
    result = job("data", "no such name", str(tmp_path / "set"), environment=environment)
    assert result.returncode == DataError.exit_code
    (span,) = receiver.spans
    assert (span.name, span.failed, span.attributes) == ("jobs.data", True, {"error.type": "DataError"})


def test_the_image_of_training_fetches_data_without_opentelemetry(receiver: Receiver, tmp_path: Path) -> None:
    command = [str(ROOT / ".venv-train/bin/python"), "-m", "jobs.data", "synthetic:200x300", str(tmp_path / "set")]
    environment = {**os.environ, "RECMESH_OTLP_ENDPOINT": receiver.endpoint, "RECMESH_LOG_LEVEL": "debug"}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0
    assert 'event="spans are not recorded: OpenTelemetry is not installed"' in result.stderr
    assert receiver.spans == []


def test_a_receiver_that_is_down_does_not_fail_a_job(tmp_path: Path) -> None:
    environment = {"RECMESH_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    result = job("data", "synthetic:200x300", str(tmp_path / "set"), environment=environment)
    assert result.returncode == 0
    assert result.stdout == f"data set: {tmp_path}/set\n"
