"""The limits of calls in flight."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from recmesh.errors import InvalidRequest, Overloaded
from recmesh.pb.cm_pb2 import CMRequest
from recmesh.serving import load as load_module
from recmesh.serving.limits import check_count, check_excluded, check_ids
from recmesh.serving.load import Congestion, Load, Shortest, adapt, keep_adapting
from recmesh.serving.rpc import receiver
from tests.unit.metric import value

PATIENCE = 1.0
"""Seconds that callers allow."""


def entered(load: Load, calls: int) -> Load:
    """Let calls enter."""
    for _ in range(calls):
        assert load.has_room()
        load.enter(1, PATIENCE)
    return load


def test_there_is_room_up_to_the_limit() -> None:
    load = entered(Load(2, 1_000, Congestion()), 2)
    assert not load.has_room()
    load.leave(1)
    entered(load, 1)
    assert (load.in_flight, load.bytes) == (2, 2)


def test_batch_calls_leave_three_tenths_of_the_limit_to_others() -> None:
    load = entered(Load(10, 1_000, Congestion()), 6)
    assert load.has_room(batch=True)
    entered(load, 1)
    assert not load.has_room(batch=True)
    assert load.has_room()


def test_requests_beyond_the_limit_of_bytes_are_refused() -> None:
    load = Load(100, 1_000, Congestion())
    load.enter(400, PATIENCE)
    load.enter(600, PATIENCE)
    with pytest.raises(Overloaded, match=r"have 1,000 of 1,000 bytes \(RECMESH_MAX_BYTES_IN_FLIGHT\)"):
        load.enter(1, PATIENCE)
    load.leave(400)
    load.enter(400, PATIENCE)
    assert (load.in_flight, load.bytes) == (2, 1_000)


def test_a_single_request_may_exceed_the_limit_of_bytes() -> None:
    """It would never be answered otherwise."""
    load = Load(100, 1_000, Congestion())
    load.enter(5_000, PATIENCE)
    load.leave(5_000)
    assert (load.in_flight, load.bytes) == (0, 0)


def test_the_limit_falls_in_proportion_to_the_wait_and_rises_again() -> None:
    """Callers allow 1 s, so the wait at each turn should not exceed 0.05 s."""
    load = entered(Load(256, 1_000, Congestion()), 200)
    load.adapt(0.05)
    assert (load.limit, load.limited) == (256, False)
    load.adapt(0.0625)
    assert load.limit == pytest.approx(200 * 0.8)
    assert load.limited
    load.adapt(0.051)
    assert load.limit == pytest.approx(160 * 0.95)
    load.adapt(10)
    assert load.limit == pytest.approx(76)
    load.adapt(0)
    assert load.limit == pytest.approx(83.6)
    for _ in range(20):
        load.adapt(0)
    assert load.limit == 256


def test_the_limit_stays_above_what_keeps_a_core_busy() -> None:
    load = entered(Load(256, 1_000, Congestion()), 20)
    for _ in range(10):
        load.adapt(1)
    assert load.limit == 8


def test_callers_that_allow_more_time_may_wait_longer() -> None:
    load = Load(256, 1_000, Congestion())
    for _ in range(100):
        load.enter(1, 30.0)
    load.adapt(1.4)
    assert load.limit == 256


def test_calls_with_less_time_than_the_quickest_answer_takes_are_refused() -> None:
    load = Load(256, 1_000, Congestion())
    load.answered(0.02)
    load.answered(0.05)
    load.adapt(0)
    load.enter(1, 0.021)
    with pytest.raises(Overloaded, match="19 ms are left, and an answer takes 20 ms at least: allow more time"):
        load.enter(1, 0.019)


def test_the_time_of_the_quickest_answer_fades_without_answers() -> None:
    load = Load(256, 1_000, Congestion())
    load.answered(2.0)
    for _ in range(3):
        load.adapt(0)
    with pytest.raises(Overloaded, match="400 ms are left, and an answer takes 500 ms at least"):
        load.enter(1, 0.4)
    load.adapt(0)
    load.enter(1, 0.4)


def test_the_shortest_time_of_an_interval() -> None:
    times = Shortest()
    for seconds in (0.3, 0.02, 0.5):
        times.add(seconds)
    assert times.take() == 0.02
    assert times.take() == 0


def test_the_limits_of_a_process_adapt_to_the_longest_standing_wait() -> None:
    congestion = Congestion()
    loads = [entered(Load(256, 1_000, congestion), 100), Load(256, 1_000, congestion)]
    assert congestion.arrivals == 100
    congestion.waited(0.0625)
    congestion.waited(0.3)
    adapt(loads, congestion, lag=0.01)
    # The second service has no callers.
    assert [load.limit for load in loads] == [80, 256]
    assert congestion.limited
    adapt(loads, congestion, lag=0.1)
    assert [load.limit for load in loads] == [40, 256]
    for _ in range(20):
        adapt(loads, congestion, lag=0)
    assert [load.limit for load in loads] == [256, 256]
    assert not congestion.limited


@pytest.mark.parametrize("identity", ["x" * 128, "é" * 64, "😀" * 32, "", "x" * 33])
def test_ids_of_up_to_128_bytes_pass(identity: str) -> None:
    check_ids("user_id", ["1", identity])


@pytest.mark.parametrize(("identity", "size"), [("x" * 129, "129"), ("é" * 65, "130"), ("😀" * 33, "132")])
def test_longer_ids_are_refused(identity: str, size: str) -> None:
    with pytest.raises(InvalidRequest, match=f"item_ids: an id has {size} bytes: at most 128"):
        check_ids("item_ids", ["1", identity])


def test_the_number_of_entries_is_limited() -> None:
    check_count("item_ids", 2_000, 2_000)
    check_excluded(["1"] * 10_000)
    with pytest.raises(InvalidRequest, match="item_ids has 2,001 entries: at most 2,000"):
        check_count("item_ids", 2_001, 2_000)
    with pytest.raises(InvalidRequest, match="exclude_ids has 10,001 entries: at most 10,000"):
        check_excluded(["1"] * 10_001)


def test_a_request_arrives_with_its_size_and_is_read_later() -> None:
    content = CMRequest(item_ids=["1"]).SerializeToString()
    received = receiver(CMRequest, max_bytes=100)
    whole, broken, large = received(content), received(b"\xff\xff"), received(b"\x12\x01x" * 34)
    assert whole.read() == CMRequest(item_ids=["1"])
    assert (whole.size, broken.size, large.size) == (len(content), 2, 102)
    with pytest.raises(InvalidRequest, match=r"^the request is no cm\.CMRequest$"):
        broken.read()
    with pytest.raises(InvalidRequest, match=r"^the request has 102 bytes: at most 100$"):
        large.read()


async def test_limits_adapt_ten_times_a_second_to_the_shorter_of_two_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Timers that are late by 3 and 1, then by 0 and 2, then by -1 (an early one) and 4 hundredths of a second."""

    class Ended(Exception):
        pass

    now, pauses, seen = 0.0, list[float](), list[tuple[int, float, float]]()
    late = iter((0.03, 0.01, 0, 0.02, -0.01, 0.04))

    async def sleep(seconds: float) -> None:
        nonlocal now
        if (delay := next(late, None)) is None:
            raise Ended
        pauses.append(seconds)
        now += seconds + delay

    def adapted(_loads: object, _congestion: object, lag: float) -> None:
        seen.append((len(pauses), lag, value("recmesh_event_loop_lag_seconds")))

    times: Any = SimpleNamespace(time=lambda: now)
    stub: Any = SimpleNamespace(get_running_loop=lambda: times, sleep=sleep)
    monkeypatch.setattr(load_module, "asyncio", stub)
    monkeypatch.setattr(load_module, "adapt", adapted)
    with pytest.raises(Ended):
        await keep_adapting([], Congestion())
    assert pauses == [0.05] * 6
    assert [count for count, _, _ in seen] == [2, 4, 6]
    assert [lag for _, lag, _ in seen] == pytest.approx([0.01, 0, 0])
    assert [lag for _, _, lag in seen] == pytest.approx([0.01, 0.02, 0.04])


async def test_a_load_is_idle_once_the_last_call_has_left() -> None:
    load = Load(8, 1_000, Congestion())
    await load.idle()
    entered(load, 2)
    idle = asyncio.create_task(load.idle())
    load.leave(1)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not idle.done()
    load.leave(1)
    await idle


def test_the_time_that_callers_allow_is_smoothed_by_a_twentieth() -> None:
    """After 1 s and 21 s it is 2 s, so a wait of 0.1 s is not too long, and one of 0.125 s is."""
    load = Load(256, 1_000, Congestion())
    load.enter(1, 1.0)
    load.enter(1, 21.0)
    for _ in range(98):
        load.in_flight += 1
    load.adapt(0.1)
    assert load.limit == 256
    load.adapt(0.125)
    assert load.limit == pytest.approx(80)


def test_a_service_with_a_small_limit_keeps_it() -> None:
    load = entered(Load(4, 1_000, Congestion()), 1)
    load.adapt(10)
    assert (load.limit, load.limited) == (4, False)


def test_a_single_batch_call_always_has_room() -> None:
    """Seven tenths of one call are less than one."""
    load = Load(1, 1_000, Congestion())
    assert load.has_room(batch=True)
    load.enter(1, 1.0)
    assert not load.has_room(batch=True)
