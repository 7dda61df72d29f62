"""The compute gate knows when a process is idle."""

import asyncio

import pytest

from recmesh.serving.compute_gate import ComputeGate


async def test_it_is_idle_once_the_last_computation_has_ended() -> None:
    gate = ComputeGate()
    assert gate.idle().done()

    calls = [asyncio.create_task(gate.run(lambda: gate.idle().done())) for _ in range(3)]
    await asyncio.sleep(0)
    idle = gate.idle()
    assert not idle.done()
    assert await asyncio.gather(*calls) == [False] * 3
    assert idle.done()
    assert not gate.busy


async def test_it_is_idle_after_a_failed_computation() -> None:
    gate = ComputeGate()
    call = asyncio.create_task(gate.run(lambda: 1 // 0))
    await asyncio.sleep(0)
    idle = gate.idle()
    await asyncio.gather(call, return_exceptions=True)
    assert idle.done()


async def test_waiting_calls_come_in_between_computations(monkeypatch: pytest.MonkeyPatch) -> None:
    """gRPC hands one call over in each pause."""
    gate, queue, pauses = ComputeGate(), 0, 0

    def pause(_seconds: float) -> None:
        nonlocal queue, pauses
        pauses += 1
        if queue:
            queue -= 1
            gate.congestion.arrivals += 1

    async def pauses_after_an_arrival(waiting: int, computations: int = 2) -> int:
        nonlocal queue, pauses
        queue, pauses = waiting, 0
        gate.congestion.arrivals += 1
        await asyncio.gather(*(gate.run(lambda: None) for _ in range(computations)))
        return pauses

    monkeypatch.setattr("recmesh.serving.compute_gate.time.sleep", pause)
    assert await pauses_after_an_arrival(4, computations=1) == 0
    assert [await pauses_after_an_arrival(4) for _ in range(32)] == [*[0] * 15, 4 + 1] * 2
    gate.congestion.limited = True
    assert await pauses_after_an_arrival(4) == 4 + 3
    assert await pauses_after_an_arrival(1_000) == 40
