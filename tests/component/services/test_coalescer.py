"""Waiting searches share a request to Milvus, and each gets its own answer."""

import asyncio

import numpy as np
import pytest

from recmesh import spans
from recmesh.errors import DeadlineExceeded, Unavailable
from recmesh.stores.milvus import Answer, Vectors
from services.recall.coalescer import MAX_QUERIES, Coalescer


class Milvus:
    """Answers each vector with an id made of its first element and the limit. Searches wait until `open` is set."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.begun = asyncio.Event()
        self.batches: list[tuple[int, int]] = []
        self.in_flight = 0
        self.error: Exception | None = None

    async def search(self, vectors: Vectors, limit: int, timeout: float) -> list[Answer]:
        self.in_flight += 1
        self.begun.set()
        assert self.in_flight == 1
        self.batches.append((len(vectors), limit))
        try:
            await self.open.wait()
            if self.error:
                raise self.error
        finally:
            self.in_flight -= 1
        return [([f"{int(vector[0])}/{limit}"], np.ones(1, np.float32)) for vector in vectors]


def idle() -> "asyncio.Future[None]":
    """An idle process."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    done.set_result(None)
    return done


def vector(number: int) -> Vectors:
    return np.array([number, 0], np.float32)


async def test_waiting_searches_share_requests_and_each_gets_its_own_answer() -> None:
    milvus = Milvus()
    coalescer = Coalescer(milvus.search, idle)
    limits = [128, 256]
    calls = [asyncio.create_task(coalescer.search(vector(n), limits[n % 5 == 0], 5)) for n in range(50)]
    await asyncio.sleep(0)
    milvus.open.set()

    answers = await asyncio.gather(*calls)

    assert [ids for ids, _ in answers] == [[f"{n}/{limits[n % 5 == 0]}"] for n in range(50)]
    assert all(count <= MAX_QUERIES for count, _ in milvus.batches)
    assert len(milvus.batches) <= 6


async def test_while_milvus_hangs_each_caller_waits_for_its_own_timeout_only() -> None:
    milvus = Milvus()
    coalescer = Coalescer(milvus.search, idle)
    first = asyncio.create_task(coalescer.search(vector(1), 10, 5))
    await milvus.begun.wait()

    with pytest.raises(DeadlineExceeded):
        await coalescer.search(vector(2), 10, 0.01)
    milvus.open.set()

    assert (await first)[0] == ["1/10"]
    assert (await coalescer.search(vector(3), 10, 5))[0] == ["3/10"]
    assert milvus.batches == [(1, 10), (1, 10)]


async def test_a_failed_request_fails_all_its_searches_and_no_later_one() -> None:
    milvus = Milvus()
    milvus.error = Unavailable("no connection")
    milvus.open.set()
    coalescer = Coalescer(milvus.search, idle)
    failed = await asyncio.gather(*(coalescer.search(vector(n), 10, 5) for n in range(3)), return_exceptions=True)
    milvus.error = None

    assert all(isinstance(error, Unavailable) for error in failed)
    assert (await coalescer.search(vector(4), 10, 5))[0] == ["4/10"]


async def test_while_the_process_is_busy_a_search_waits_for_others() -> None:
    milvus = Milvus()
    milvus.open.set()
    busy: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    coalescer = Coalescer(milvus.search, lambda: busy)
    calls = [asyncio.create_task(coalescer.search(vector(0), 10, 5))]
    await asyncio.sleep(0)
    calls += [asyncio.create_task(coalescer.search(vector(n), 10, 5)) for n in range(1, 3)]
    await asyncio.sleep(0)
    busy.set_result(None)
    await asyncio.gather(*calls)

    assert milvus.batches == [(3, 10)]


async def test_a_process_that_is_never_idle_searches_nevertheless() -> None:
    milvus = Milvus()
    milvus.open.set()
    coalescer = Coalescer(milvus.search, asyncio.get_running_loop().create_future)

    assert (await coalescer.search(vector(1), 10, 5))[0] == ["1/10"]
    answers = await asyncio.gather(*(coalescer.search(vector(n), 10, 5) for n in range(MAX_QUERIES)))

    assert [ids for ids, _ in answers] == [[f"{n}/10"] for n in range(MAX_QUERIES)]
    assert milvus.batches == [(1, 10), (MAX_QUERIES, 10)]


async def test_a_shared_request_has_a_span_in_each_trace() -> None:
    milvus = Milvus()

    async def traced_search(vectors: Vectors, limit: int, timeout: float) -> list[Answer]:
        with spans.span("search", {spans.QUERIES: len(vectors)}, spans.Kind.CLIENT):
            return await milvus.search(vectors, limit, timeout)

    coalescer = Coalescer(traced_search, idle)

    async def request(number: int) -> spans.Span:
        root = spans.begin(f"request {number}", 0, {})
        await coalescer.search(vector(number), 128, 5)
        root.end()
        return root

    calls = [asyncio.create_task(request(number)) for number in range(3)]
    await asyncio.sleep(0)
    milvus.open.set()

    for root in await asyncio.gather(*calls):
        search, ended = root.recording
        assert (search.name, search.parent_id, ended) == ("search", root.id, root)
        assert search.attributes == {spans.QUERIES: 3}
