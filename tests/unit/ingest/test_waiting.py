"""An ingestion that starts before its prerequisites waits for them, says so, and gives up in the end."""

import io

import pytest
from rich.console import Console

from jobs.ingest import waiting
from jobs.ingest.waiting import RetryWindow
from recmesh.errors import ReleaseError, SettingsError, Unavailable
from recmesh.progress import Reporter
from tests.unit.clock import Clock


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "POLL_INTERVAL_SECONDS", 0.0)


def test_it_retries_until_a_call_succeeds_and_reports_each_reason_and_the_end() -> None:
    output = io.StringIO()
    failures = [*[Unavailable("Redis does not answer")] * 3, ReleaseError("no release yet")]

    def attempt() -> str:
        if failures:
            raise failures.pop(0)
        return "here"

    assert RetryWindow(60, Reporter(Console(file=output))).get("Redis", attempt) == "here"
    assert output.getvalue().splitlines() == [
        "Waiting for Redis: Redis does not answer",
        "Waiting for Redis: no release yet",
        "Waiting for Redis is over after 0 s",
    ]


def test_a_long_wait_is_reported_with_growing_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour of polls every two seconds."""
    output = io.StringIO()
    clock = Clock(monkeypatch, "jobs.ingest.waiting", "recmesh.throttle")
    monkeypatch.setattr(waiting, "POLL_INTERVAL_SECONDS", 2.0)
    window, began = RetryWindow(7200, Reporter(Console(file=output))), clock.now

    def attempt() -> str:
        if clock.now < began + 3600:
            raise Unavailable("Milvus does not answer")
        return "here"

    assert window.get("Milvus", attempt) == "here"
    first, *repeated, last = output.getvalue().splitlines()
    assert first == "Waiting for Milvus: Milvus does not answer"
    assert repeated[:4] == [f"Waiting for Milvus for {seconds} s: Milvus does not answer" for seconds in (2, 4, 8, 16)]
    assert len(repeated) == 19
    assert last == "Waiting for Milvus is over after 3600 s"


@pytest.mark.parametrize("seconds", [0, 0.05])
def test_it_gives_up_with_the_last_reason(seconds: float) -> None:
    def attempt() -> None:
        raise Unavailable("Milvus does not answer")

    with pytest.raises(Unavailable, match="Milvus does not answer"):
        RetryWindow(seconds, Reporter(Console(file=io.StringIO()))).get("Milvus", attempt)


def test_an_error_that_waiting_cannot_cure_is_raised_at_once() -> None:
    def attempt() -> None:
        raise SettingsError("no such scheme")

    with pytest.raises(SettingsError):
        RetryWindow(3600, Reporter(Console(file=io.StringIO()))).get("Redis", attempt)
