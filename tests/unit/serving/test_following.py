"""Following the active release, with releases that do not load."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import BadZipFile

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from recmesh.errors import ReleaseError
from recmesh.releases import ModelStore
from recmesh.serving.following import follow


@dataclass
class Scene:
    """A store whose active release a test sets, a clock that each poll moves on, and a service that may fail.

    Attributes:
        polls: For each second the release that is active then; None if none is.
        faults: What loading a release raises; each error once, then the release loads.
        tried: Second and release of each attempt to load one.
    """

    polls: list[str | None]
    faults: dict[str, list[Exception]] = field(default_factory=dict)
    tried: list[tuple[int, str]] = field(default_factory=list)
    second: int = -1

    def active(self) -> str | None:
        self.second += 1
        if self.second == len(self.polls):
            raise asyncio.CancelledError
        return self.polls[self.second]

    async def switch(self, release: str) -> None:
        self.tried.append((self.second, release))
        faults = self.faults.get(release)
        if faults:
            raise faults.pop(0)

    async def run(self, service: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        store = ModelStore(str(tmp_path))
        monkeypatch.setattr(store, "active", self.active)
        with pytest.raises(asyncio.CancelledError):
            await follow(service, store, 0, self.switch, clock=lambda: float(self.second))


def failures(service: str) -> float:
    return REGISTRY.get_sample_value("recmesh_release_failures_total", {"service": service}) or 0.0


def missing(service: str) -> float | None:
    return REGISTRY.get_sample_value("recmesh_release_missing", {"service": service})


@pytest.fixture
def service(request: pytest.FixtureRequest) -> Iterator[str]:
    yield str(request.node.name)


@pytest.mark.parametrize("error", [ReleaseError("damaged"), BadZipFile("no zip"), RuntimeError("ONNX"), IndexError()])
async def test_any_error_is_a_counted_failure_and_the_next_release_is_followed(
    error: Exception, service: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scene = Scene(["good", "bad", "bad", "next", "next", "good"], {"bad": [error, error]})
    with capture_logs() as logs:
        await scene.run(service, monkeypatch, tmp_path)
    assert scene.tried == [(0, "good"), (1, "bad"), (2, "bad"), (3, "next"), (5, "good")]
    assert failures(service) == 2
    (first, second) = logs
    assert first["event"] == "release not loaded"
    assert (first["release"], first["retry_seconds"], second["retry_seconds"]) == ("bad", 1.0, 2.0)
    assert type(error).__name__ in first["reason"] or first["reason"] == "damaged"


async def test_the_pause_between_two_attempts_doubles_up_to_a_minute(
    service: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scene = Scene([*["bad"] * 300], {"bad": [ReleaseError("damaged")] * 100})
    await scene.run(service, monkeypatch, tmp_path)
    assert [second for second, _ in scene.tried] == [0, 1, 3, 7, 15, 31, 63, 123, 183, 243]


async def test_a_release_that_loads_in_the_end_is_not_tried_again(
    service: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scene = Scene([*["slow"] * 10], {"slow": [ReleaseError("not there yet")] * 2})
    await scene.run(service, monkeypatch, tmp_path)
    assert scene.tried == [(0, "slow"), (1, "slow"), (3, "slow")]


async def test_a_release_that_failed_before_gets_a_short_pause_again(
    service: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    damaged: list[Exception] = [ReleaseError("damaged")] * 9
    scene = Scene(["a", "a", "a", "a", "b", "a", "a"], {"a": damaged})
    await scene.run(service, monkeypatch, tmp_path)
    assert scene.tried == [(0, "a"), (1, "a"), (3, "a"), (4, "b"), (5, "a"), (6, "a")]


async def test_a_lost_pointer_keeps_the_release_and_is_said_with_growing_pauses(
    service: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lost: list[str | None] = [None]
    scene = Scene(["a", *lost * 200])
    with capture_logs() as logs:
        await scene.run(service, monkeypatch, tmp_path)
    assert scene.tried == [(0, "a")]
    assert missing(service) == 1
    assert [entry["attempts"] for entry in logs] == [1, 1, 2, 4, 8, 16, 32, 64]
    assert {(entry["event"], entry["release"]) for entry in logs} == {("no release is active", "a")}


async def test_a_pointer_that_is_back_is_not_missing(
    service: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scene = Scene([None, "a", None, None, "a", None, "b"])
    with capture_logs() as logs:
        await scene.run(service, monkeypatch, tmp_path)
    assert scene.tried == [(1, "a"), (6, "b")]
    assert missing(service) == 0
    lost = [(entry["release"], entry["attempts"]) for entry in logs if entry["event"] == "no release is active"]
    assert lost == [("", 1), ("a", 1), ("a", 2)]
    back = [(entry["release"], entry["seconds"]) for entry in logs if entry["event"] == "a release is active again"]
    assert back == [("a", 1.0), ("a", 2.0), ("b", 1.0)]
