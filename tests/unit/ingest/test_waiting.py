"""An ingestion that starts before what it needs waits for it, says so once, and gives up in the end."""

import io

import pytest
from rich.console import Console

from jobs.ingest import waiting
from jobs.ingest.waiting import RetryWindow
from recmesh.errors import ReleaseError, SettingsError, Unavailable


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_LOOK_SECONDS", 0.0)


def test_it_tries_until_there_is_an_answer_and_says_once_what_for() -> None:
    output = io.StringIO()
    failures = [Unavailable("Redis is away"), ReleaseError("no release yet")]

    def attempt() -> str:
        if failures:
            raise failures.pop(0)
        return "here"

    assert RetryWindow(60, Console(file=output, width=200)).get("Redis", attempt) == "here"
    assert output.getvalue() == "Waiting for Redis: Redis is away\n"


@pytest.mark.parametrize("seconds", [0, 0.05])
def test_it_gives_up_with_the_last_reason(seconds: float) -> None:
    def attempt() -> None:
        raise Unavailable("Milvus is away")

    with pytest.raises(Unavailable, match="Milvus is away"):
        RetryWindow(seconds, Console(file=io.StringIO())).get("Milvus", attempt)


def test_a_fault_that_time_does_not_heal_is_raised_at_once() -> None:
    def attempt() -> None:
        raise SettingsError("no such scheme")

    with pytest.raises(SettingsError):
        RetryWindow(3600, Console(file=io.StringIO())).get("Redis", attempt)
