"""Addresses of both families, and proxies that are meant for the world outside."""

import ast
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2

from local.ports import direct
from local.settings import LocalSettings
from recmesh.contract import OK, address
from recmesh.pb.um_pb2 import UserModelRequest
from recmesh.serving import RedisSettings
from tests.calls import UM
from tests.processes import Service, health_of, running
from tests.servers import ROOT, RedisServer, wait_until

PROXIES = dict.fromkeys(("http_proxy", "https_proxy", "grpc_proxy", "HTTPS_PROXY"), "http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("host", "reached"),
    [
        ("::1", ["::1"]),
        ("[::1]", ["::1"]),
        ("::", ["::1", "127.0.0.1"]),
        ("[::]", ["::1", "127.0.0.1"]),
        ("127.0.0.1", ["127.0.0.1"]),
    ],
)
def test_a_service_and_its_metrics_listen_where_they_are_told(host: str, reached: list[str], shop: RedisServer) -> None:
    with running("um", {"RECMESH_REDIS_URL": shop.url, "RECMESH_HOST": host}, ready=False) as service:
        for one in reached:
            target = address(one, service.ports["um"])
            wait_until(lambda: health_of(target) == health_pb2.HealthCheckResponse.SERVING, service, "um")  # noqa: B023
            assert UM.call(target, UserModelRequest(user_id="5")).error.code == OK
            with urllib.request.urlopen(f"http://{address(one, service.ports['metrics'])}/metrics") as answer:
                assert b"recmesh_" in answer.read()
        other = {"::1", "127.0.0.1"} - set(reached)
        assert [health_of(address(one, service.ports["um"])) for one in other] == [None] * len(other)


def test_the_targets_of_a_local_mesh_have_brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    for host, target in (("::1", "[::1]:8910"), ("[::1]", "[::1]:8910"), ("::", "127.0.0.1:8910"), ("h", "h:8910")):
        monkeypatch.setenv("RECMESH_HOST", host)
        assert LocalSettings().target("um") == target
        assert RedisSettings().host == host.strip("[]")


@pytest.fixture
def um_behind_a_proxy(shop: RedisServer) -> Iterator[Service]:
    """um in an environment whose proxy does not exist."""
    with running("um", {"RECMESH_REDIS_URL": shop.url, **PROXIES}) as service:
        yield service


def test_clients_use_no_proxy(um_behind_a_proxy: Service) -> None:
    command = [sys.executable, "client.py", "um", "5", "--json", "--target", um_behind_a_proxy.target("um")]
    result = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **PROXIES}, capture_output=True, text=True, check=True
    )
    assert json.loads(result.stdout)["user_info"]["user_id"] == "5"


def test_the_local_runner_uses_no_proxy(um_behind_a_proxy: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PROXIES.items():
        monkeypatch.setenv(name, value)
    code = "import sys; from local import health; sys.exit(not health.serving(sys.argv[1]))"
    command = [sys.executable, "-c", code, um_behind_a_proxy.target("um")]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0
    url = f"http://127.0.0.1:{um_behind_a_proxy.ports['metrics']}/metrics"
    with direct.open(url, timeout=5) as answer:
        assert answer.status == 200


def test_every_channel_has_options() -> None:
    """Channels without options would use a proxy. Those with options use DIRECT, as the tests above and others show."""
    calls = [
        (path.relative_to(ROOT).as_posix(), call.lineno, {word.arg for word in call.keywords})
        for folder in ("recmesh", "services", "local", "jobs", "benchmarks")
        for path in sorted(Path(ROOT, folder).rglob("*.py"))
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr in ("insecure_channel", "secure_channel")
    ]
    assert len(calls) >= 10
    assert [(path, line) for path, line, words in calls if "options" not in words] == []
