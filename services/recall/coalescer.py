"""Sends waiting searches to Milvus in one request.

A request costs Milvus about 2 ms of CPU time, and each query in it 0.2 ms more. So only one request is in flight at a
time, and searches that arrive meanwhile go into the next one. While this process has computations waiting, a search
also waits for others that are about to come; this costs no throughput then. An idle process searches immediately.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from recmesh import spans
from recmesh.errors import RecmeshError
from recmesh.serving import metrics
from recmesh.serving.deadline import within
from recmesh.serving.store_calls import StoreCalls
from recmesh.stores.milvus import Answer, Vectors

SearchMany = Callable[[Vectors, int, float], Awaitable[Sequence[Answer]]]

MAX_QUERIES = 16
"""Queries in one request."""

_MAX_GATHER_SECONDS = 0.01
_CALLS = StoreCalls("milvus", "search")


@dataclass
class _Query:
    vector: Vectors
    limit: int
    ends_at: float
    requests: tuple[spans.Span, ...] = field(default_factory=spans.current)
    answer: "asyncio.Future[Answer]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Coalescer:
    """Searches one collection: each caller sends one vector, Milvus gets several at a time."""

    def __init__(self, search: SearchMany, idle: "Callable[[], asyncio.Future[None]]") -> None:
        """Coalesce searches of one collection.

        Args:
            search: Vectors float32 [queries, dim], limit and timeout in seconds to the answer for each vector.
            idle: A future that is done once the process has no computations waiting.
        """
        self._search = search
        self._idle = idle
        self._waiting: deque[_Query] = deque()
        self._full: asyncio.Future[None] | None = None
        self._worker: asyncio.Task[None] | None = None

    async def search(self, vector: Vectors, limit: int, timeout: float) -> Answer:
        """The `limit` items with the largest inner products with `vector`, float32 [dim].

        Raises:
            DeadlineExceeded: Milvus did not answer within `timeout` seconds.
            Unavailable: Milvus failed.
        """
        query = _Query(vector, limit, time.monotonic() + timeout)
        self._waiting.append(query)
        if len(self._waiting) >= MAX_QUERIES and self._full is not None and not self._full.done():
            self._full.set_result(None)
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return await within(timeout, "Milvus", query.answer)

    async def _work(self) -> None:
        try:
            await self._gather()
            while batch := self._next_batch():
                await self._answer(batch)
                await self._gather()
        finally:
            self._worker = None

    async def _gather(self) -> None:
        """Wait for more queries while the process is busy."""
        idle = self._idle()
        if not idle.done() and len(self._waiting) < MAX_QUERIES:
            self._full = asyncio.get_running_loop().create_future()
            await asyncio.wait((idle, self._full), timeout=_MAX_GATHER_SECONDS, return_when=asyncio.FIRST_COMPLETED)

    def _next_batch(self) -> list[_Query]:
        batch: list[_Query] = []
        deferred: deque[_Query] = deque()
        while self._waiting and len(batch) < MAX_QUERIES:
            query = self._waiting.popleft()
            if query.answer.done():
                continue  # The caller has given up.
            # Queries of one batch must have equal limits. The limit affects how a graph index is searched, and an
            # answer must not depend on the other queries.
            (batch if not batch or query.limit == batch[0].limit else deferred).append(query)
        self._waiting.extendleft(reversed(deferred))
        return batch

    async def _answer(self, batch: list[_Query]) -> None:
        metrics.SEARCH_QUERIES.observe(len(batch))
        timeout = max(query.ends_at for query in batch) - time.monotonic()
        try:
            with _CALLS.measured(), spans.on_behalf_of(query.requests for query in batch):
                found = await self._search(np.stack([query.vector for query in batch]), batch[0].limit, timeout)
        except RecmeshError as error:
            for query in batch:
                if not query.answer.done():
                    query.answer.set_exception(error)
            return
        for query, answer in zip(batch, found, strict=True):
            if not query.answer.done():
                query.answer.set_result(answer)
