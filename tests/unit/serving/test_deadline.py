"""The time that a request has left, by a clock of its own."""

import asyncio

import pytest

from recmesh.errors import DeadlineExceeded
from recmesh.serving import deadline
from recmesh.serving.deadline import Deadline, within
from tests.unit.clock import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch, "recmesh.serving.deadline")


async def test_the_time_of_a_request_runs_from_its_start(clock: Clock) -> None:
    deadline.start(2.0)
    clock.now += 0.5
    assert deadline.remaining() == 1.5
    assert await asyncio.create_task(_remaining()) == 1.5
    clock.now += 2
    assert deadline.remaining() == 0


async def _remaining() -> float:
    return deadline.remaining()


def test_stages_share_a_deadline(clock: Clock) -> None:
    shared = Deadline(4.0)
    assert (shared.remaining(), shared.share(0.25)) == (4.0, 1.0)
    clock.now += 2
    assert (shared.remaining(), shared.share(0.25)) == (2.0, 0.5)
    clock.now += 3
    assert (shared.remaining(), shared.share(0.25)) == (0, 0)


async def test_an_answer_in_time_is_returned_and_a_late_one_names_what_was_late() -> None:
    async def answer() -> int:
        return 7

    assert await within(5.0, "Redis", answer()) == 7
    hanging = asyncio.get_running_loop().create_future()
    with pytest.raises(DeadlineExceeded, match=r"^Redis did not answer within 12 ms$"):
        await within(0.0123, "Redis", hanging)
    assert hanging.cancelled()
