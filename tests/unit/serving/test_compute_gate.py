"""The compute gate knows when a process is idle."""

import asyncio
import threading

import pytest

from recmesh.serving.compute_gate import ComputeGate
from tests.unit.clock import Clock


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


async def test_computations_run_one_after_the_other_and_report_how_long_they_waited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, gate = Clock(monkeypatch, "recmesh.serving.compute_gate"), ComputeGate()
    order: list[int] = []
    waits: list[float] = []
    monkeypatch.setattr(gate.congestion, "waited", waits.append)

    async def compute(number: int) -> int:
        def step() -> int:
            order.append(number)
            clock.now += 0.25
            return number

        return await gate.run(step)

    # The others come when the first has computed.
    assert await asyncio.gather(*(compute(number) for number in range(4))) == [0, 1, 2, 3]
    assert order == [0, 1, 2, 3]
    assert waits == [0, 0, 0.25, 0.5]


async def test_the_loop_has_a_turn_between_two_computations() -> None:
    gate, turns = ComputeGate(), 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.create_task(count())
    seen = await asyncio.gather(*(gate.run(lambda: turns) for _ in range(4)))
    counting.cancel()
    assert len(set(seen)) == 4


async def test_a_pause_for_calls_takes_a_tenth_of_a_millisecond(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, gate = Clock(monkeypatch, "recmesh.serving.compute_gate"), ComputeGate()
    gate.congestion.limited = True
    gate.congestion.arrivals += 1
    await asyncio.gather(gate.run(lambda: None), gate.run(lambda: None))
    assert clock.pauses == [0.0001] * 3


async def test_without_arrivals_there_is_no_pause_for_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, gate = Clock(monkeypatch, "recmesh.serving.compute_gate"), ComputeGate()
    gate.congestion.limited = True
    await asyncio.gather(gate.run(lambda: None), gate.run(lambda: None))
    assert clock.pauses == []


@pytest.mark.parametrize("in_thread", [False, True])
async def test_long_computations_run_in_a_thread(in_thread: bool) -> None:
    gate = ComputeGate()
    here = threading.get_ident()
    assert (await gate.run(threading.get_ident, in_thread=in_thread) == here) is not in_thread
    assert (await gate.run_model(threading.get_ident, in_thread=in_thread) == here) is not in_thread
    assert not gate.busy


async def test_by_default_models_have_no_thread_of_their_own() -> None:
    gate, here = ComputeGate(), threading.get_ident()
    computing = asyncio.create_task(gate.run(lambda: None))
    await asyncio.sleep(0)
    assert gate.busy
    assert await gate.run_model(threading.get_ident) == here
    await computing


async def test_models_have_a_thread_of_their_own_only_while_others_compute() -> None:
    gate, here, release = ComputeGate(model_thread=True), threading.get_ident(), threading.Event()
    assert await gate.run_model(threading.get_ident) == here
    computing = asyncio.create_task(gate.run(lambda: release.wait(60), in_thread=True))
    await asyncio.sleep(0)

    def infer() -> str:
        release.set()
        return threading.current_thread().name

    idle = gate.idle()
    assert (await gate.run_model(infer)).startswith("model")
    assert await computing
    assert idle.done() and not gate.busy


async def test_a_model_in_its_thread_keeps_the_gate_busy() -> None:
    gate, begun, release = ComputeGate(model_thread=True), asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    computing = asyncio.create_task(gate.run(lambda: release.wait(60), in_thread=True))
    await asyncio.sleep(0)
    ended = threading.Event()

    def infer() -> bool:
        loop.call_soon_threadsafe(begun.set)
        return ended.wait(60)

    model = asyncio.create_task(gate.run_model(infer))
    await begun.wait()
    release.set()
    await computing
    assert gate.busy and not gate.idle().done()
    ended.set()
    assert await model
    assert not gate.busy and gate.idle().done()


async def test_callers_share_a_future_until_it_is_done() -> None:
    gate = ComputeGate()
    call = asyncio.create_task(gate.run(lambda: None))
    await asyncio.sleep(0)
    idle = gate.idle()
    assert gate.idle() is idle
    await call
    assert gate.idle() is not idle
