"""How long searches gather, how much time Milvus gets, and what is counted."""

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from recmesh.errors import DeadlineExceeded, Unavailable
from services.recall import coalescer as coalescer_module
from services.recall.coalescer import Coalescer
from tests.unit.clock import Clock
from tests.unit.metric import added


class _Milvus:
    """Answers each vector with its first element."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.asked: list[tuple[list[int], int, float]] = []

    async def search(self, vectors: Any, limit: int, timeout: float) -> list[Any]:
        numbers = vectors[:, 0].astype(int).tolist()
        self.asked.append((numbers, limit, timeout))
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        return [([str(number)], np.ones(1, np.float32)) for number in numbers]


def vector(number: int) -> Any:
    return np.array([number, 0], np.float32)


def done() -> "asyncio.Future[None]":
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.set_result(None)
    return future


def busy() -> "asyncio.Future[None]":
    return asyncio.get_running_loop().create_future()


async def searched(coalescer: Coalescer, limits: Sequence[int], timeouts: Sequence[float]) -> list[str]:
    given = enumerate(zip(limits, timeouts, strict=True))
    calls = [coalescer.search(vector(number), limit, timeout) for number, (limit, timeout) in given]
    return [ids[0] for ids, _ in await asyncio.gather(*calls)]


async def test_milvus_gets_the_time_of_the_query_that_may_take_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch, "services.recall.coalescer")
    milvus = _Milvus()
    assert await searched(Coalescer(milvus.search, done), [5, 5, 5], [1.0, 3.0, 2.0]) == ["0", "1", "2"]
    assert milvus.asked == [([0, 1, 2], 5, 3.0)]


async def test_queries_with_other_limits_keep_their_order_in_later_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch, "services.recall.coalescer")
    milvus = _Milvus()
    await searched(Coalescer(milvus.search, done), [5, 6, 7, 5, 6], [1.0] * 5)
    assert [(numbers, limit) for numbers, limit, _ in milvus.asked] == [([0, 3], 5), ([1, 4], 6), ([2], 7)]


async def test_no_more_than_sixteen_queries_go_into_one_search_and_their_number_is_counted() -> None:
    count, total = added("recmesh_search_queries_count"), added("recmesh_search_queries_sum")
    milvus = _Milvus()
    await searched(Coalescer(milvus.search, done), [5] * 17, [5.0] * 17)
    assert [len(numbers) for numbers, _, _ in milvus.asked] == [16, 1]
    assert (count(), total()) == (2, 17)


async def test_queries_gather_for_a_hundredth_of_a_second_while_the_process_is_busy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits: list[tuple[int, float, object]] = []
    wait = asyncio.wait

    async def observed(futures: Any, timeout: float, return_when: str) -> Any:
        waits.append((len(futures), timeout, return_when))
        return await wait(futures, timeout=0)

    stub = type("Asyncio", (), {"__getattr__": lambda _, name: getattr(asyncio, name)})()
    stub.wait = observed
    monkeypatch.setattr(coalescer_module, "asyncio", stub)
    milvus = _Milvus()
    await searched(Coalescer(milvus.search, busy), [5], [5.0])
    assert waits[0] == (2, 0.01, asyncio.FIRST_COMPLETED)


async def test_the_sixteenth_query_ends_the_gathering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coalescer_module, "_MAX_GATHER_SECONDS", 3_600)
    milvus = _Milvus()
    coalescer = Coalescer(milvus.search, busy)
    calls = [asyncio.create_task(coalescer.search(vector(n), 5, 60.0)) for n in range(15)]
    for _ in range(20):
        await asyncio.sleep(0)
    assert milvus.asked == []
    calls.append(asyncio.create_task(coalescer.search(vector(15), 5, 60.0)))
    assert [ids for ids, _ in await asyncio.gather(*calls)] == [[str(n)] for n in range(16)]


async def test_a_failed_search_fails_its_queries_only() -> None:
    milvus = _Milvus(Unavailable("Milvus is down"))
    coalescer = Coalescer(milvus.search, done)
    results = await asyncio.gather(*(coalescer.search(vector(n), 5, 5.0) for n in range(2)), return_exceptions=True)
    assert [str(error) for error in results] == ["Milvus is down"] * 2
    milvus.error = None
    assert await searched(coalescer, [5], [5.0]) == ["0"]


async def test_a_query_whose_caller_gave_up_is_left_out() -> None:
    gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    milvus = _Milvus()
    coalescer = Coalescer(milvus.search, lambda: gate)
    with pytest.raises(DeadlineExceeded, match="Milvus did not answer within 1 ms"):
        await coalescer.search(vector(0), 5, 0.001)
    other = asyncio.create_task(coalescer.search(vector(1), 5, 5.0))
    await asyncio.sleep(0)
    gate.set_result(None)
    assert (await other)[0] == ["1"]
    assert [numbers for numbers, _, _ in milvus.asked] == [[1]]
