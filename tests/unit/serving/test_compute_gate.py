"""The compute gate knows when a process is idle."""

import asyncio

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
