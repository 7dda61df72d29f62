"""An ingestion that starts before its prerequisites waits for them, says so once, and gives up in the end."""

import io

import pytest
from rich.console import Console

from jobs.ingest import waiting
from jobs.ingest.waiting import RetryWindow
from recmesh.errors import ReleaseError, SettingsError, Unavailable
from recmesh.progress import Reporter


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "POLL_INTERVAL_SECONDS", 0.0)


def test_it_retries_until_a_call_succeeds_and_reports_the_wait_once() -> None:
    output = io.StringIO()
    failures = [Unavailable("Redis does not answer"), ReleaseError("no release yet")]

    def attempt() -> str:
        if failures:
            raise failures.pop(0)
        return "here"

    assert RetryWindow(60, Reporter(Console(file=output))).get("Redis", attempt) == "here"
    assert output.getvalue() == "Waiting for Redis: Redis does not answer\n"


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
