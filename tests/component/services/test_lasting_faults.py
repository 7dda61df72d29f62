"""Processes whose stores and services are not there: what they log while they wait, for about eight seconds."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from local.ports import free_ports
from tests.processes import Service, running
from tests.servers import start_redis, wait_until

_UNKNOWN = "nowhere.invalid"
"""A name that no name server knows (RFC 2606)."""

_DUE = [0, 1, 3, 7]


def records(service: Service) -> list[dict[str, Any]]:
    # The last line may be incomplete.
    return [json.loads(line) for line in service.log.read_text().split("\n")[:-1]]


def of(service: Service, event: str) -> list[dict[str, Any]]:
    return [record for record in records(service) if record["event"] == event]


@pytest.mark.parametrize(
    ("name", "event", "attempts_per_second"),
    [
        ("as", "popular list not refreshed", 2),
        ("feed", "the log is not applied", 2),
        ("um", "not serving", 10),
        ("recall", "changed items are not read", 4),
    ],
)
def test_a_name_that_does_not_resolve_is_logged_with_growing_pauses(
    name: str, event: str, attempts_per_second: int, tmp_path: Path
) -> None:
    """The last line waited for says that the fault lasts 7 s; a slow machine has more attempts in fewer lines."""
    settings = {
        "RECMESH_HOME": str(tmp_path),
        "RECMESH_MODEL_STORE": str(tmp_path / "store"),
        "RECMESH_REDIS_URL": f"redis://{_UNKNOWN}:6379/0",
        "RECMESH_MILVUS_URI": f"http://{_UNKNOWN}:19530",
        **{f"RECMESH_{stage}_TARGET": f"dns:///{_UNKNOWN}:8950" for stage in ("UM", "RECALL", "RANK", "CM")},
    }
    with running(name, settings, ready=False) as service:
        wait_until(lambda: any(line["seconds"] >= _DUE[-1] for line in of(service, event)), service, event)
        found = of(service, event)
        every = records(service)
    reasons = {line["reason"] for line in found}
    assert any("resolv" in reason or "not known" in reason or "name resolution" in reason for reason in reasons)
    assert len(found) <= len(_DUE) + len(reasons)
    attempts, seconds = sum(line["attempts"] for line in found), found[-1]["seconds"]
    assert attempts > len(found)
    assert attempts <= 2 * attempts_per_second * (seconds + 1)
    lines = defaultdict[str, int](int)
    for line in every:
        lines[line["event"]] += 1
    assert max(lines.values()) <= len(_DUE) + 5, dict(lines)


def test_a_release_that_cannot_be_loaded_is_logged_with_growing_pauses(tmp_path: Path) -> None:
    store = tmp_path / "store"
    (store / "releases" / "broken").mkdir(parents=True)
    (store / "releases" / "broken" / "manifest.json").write_text("{")
    (store / "active").write_text(json.dumps({"id": "broken", "since": "2026-01-01T00:00:00Z"}))
    settings = {
        "RECMESH_HOME": str(tmp_path / "home"),
        "RECMESH_MODEL_STORE": str(store),
        "RECMESH_RELEASE_POLL": "0.05",
    }
    event = "release not loaded"
    with running("rank", settings, ready=False) as service:
        wait_until(lambda: len(of(service, event)) == 4, service, event)
        found, every = of(service, event), records(service)
    assert [line["retry_seconds"] for line in found] == [1, 2, 4, 8]
    assert {line["release"] for line in found} == {"broken"}
    assert len([line for line in every if line["event"] == "not serving"]) <= len(_DUE) + 2


def test_the_end_of_a_fault_is_logged_with_how_long_it_lasted(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    settings = {"RECMESH_REDIS_URL": f"redis://127.0.0.1:{port}/0"}
    with running("um", settings, ready=False) as service:
        wait_until(lambda: any(line["seconds"] >= 1 for line in of(service, "not serving")), service, "a second line")
        server = start_redis(tmp_path, port)
        try:
            wait_until(lambda: bool(of(service, "serving")), service, "um")
            (line,) = of(service, "serving")
        finally:
            server.stop()
    assert line["seconds"] >= 1
