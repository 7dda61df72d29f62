"""Watching the active release."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from recmesh.errors import Unavailable
from recmesh.releases import ModelStore, watch
from tests.unit.clock import Clock
from tests.unit.releases.conftest import MakeRelease


async def test_watch_yields_the_active_release_at_every_poll(tmp_path: Path, make_release: MakeRelease) -> None:
    store = ModelStore(str(tmp_path / "store"))
    for release_id in ("r1", "r2"):
        store.put(make_release(release_id))
    found = watch(store, interval=0.001)
    assert await anext(found) is None
    store.activate("r1")
    assert await anext(found) == "r1"
    assert await anext(found) == "r1"
    store.activate("r2")
    assert await anext(found) == "r2"
    store.rollback()
    assert await anext(found) == "r1"


@pytest.mark.parametrize("error", [Unavailable("no answer"), ValueError("not a store's own error")])
async def test_watch_survives_a_failing_store_and_logs_it_once(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ModelStore(str(tmp_path / "store"))
    answers: list[str | None] = ["r1", None, None, None, "r2"]

    def active() -> str | None:
        answer = answers.pop(0)
        if answer is None:
            raise error
        return answer

    monkeypatch.setattr(store, "active", active)
    changes = watch(store, interval=0)
    with capture_logs() as logs:
        assert [await anext(changes), await anext(changes)] == ["r1", "r2"]
    assert [entry["log_level"] for entry in logs] == ["warning", "info"]


class _Ended(Exception):
    """Ends the endless watching."""


async def test_watch_polls_at_the_interval_whatever_the_store_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an active release, with one, and without an answer."""
    clock, store = Clock(monkeypatch, "recmesh.releases.watch"), ModelStore(str(tmp_path / "store"))
    answers: list[str | Exception | None] = [None, "r1", Unavailable("no answer"), None, "r2"]

    def active() -> str | None:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def end() -> None:
        if not answers:
            raise _Ended

    monkeypatch.setattr(store, "active", active)
    clock.at_pause = end
    found: list[str | None] = []
    with pytest.raises(_Ended):
        async for release in watch(store, 2.5):
            found.append(release)
    assert (found, clock.pauses) == ([None, "r1", None, "r2"], [2.5] * 5)
