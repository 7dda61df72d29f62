"""Background tasks: endless, and if not, the end of the process."""

import asyncio
import signal

import pytest
from structlog.testing import capture_logs

from recmesh.serving import background


async def _fails() -> None:
    raise KeyError("unexpected")


async def _runs() -> None:
    await asyncio.Event().wait()


async def test_a_task_that_fails_is_logged_and_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = asyncio.Event()
    signals: list[signal.Signals] = []

    def raise_signal(number: signal.Signals) -> None:
        signals.append(number)
        stopped.set()

    monkeypatch.setattr(signal, "raise_signal", raise_signal)
    with capture_logs() as logs, pytest.raises(KeyError, match="unexpected"):
        async with background(_fails()):
            await stopped.wait()
    assert signals == [signal.SIGTERM]
    assert [(entry["log_level"], entry["task"]) for entry in logs] == [("critical", "_fails")]


async def test_a_task_that_runs_until_the_end_of_the_block_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "raise_signal", lambda _: pytest.fail("the process was ended"))
    async with background(_runs()) as task:
        assert not task.done()
    assert task.cancelled()


async def test_a_task_that_swallows_a_cancellation_is_cancelled_again() -> None:
    cancelled = 0

    async def stubborn() -> None:
        nonlocal cancelled
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled += 1
                if cancelled == 2:
                    raise

    async with background(stubborn()) as task:
        await asyncio.sleep(0)
    assert (cancelled, task.cancelled()) == (2, True)
