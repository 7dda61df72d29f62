"""Milvus: searches of the services and writes of the jobs, against a real server."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from recmesh.errors import DeadlineExceeded, RecmeshError, SettingsError, Unavailable
from recmesh.releases import Index
from recmesh.stores.ann import longest, smallest_ef
from recmesh.stores.milvus import CollectionSearch, MilvusReader, Vectors
from recmesh.stores.milvus_writer import HNSW_PARAMS, MilvusWriter
from tests.scripted_milvus import FLUSHED, GROWING, scripted_milvus
from tests.servers import MilvusServer, start_milvus

DIM, ROWS = 16, 3_000
NARROW = Index(kind="HNSW", params=dict(HNSW_PARAMS), ef=5)
HNSW = Index(kind="HNSW", params=dict(HNSW_PARAMS), ef=512)
FLAT = Index(kind="FLAT")


@dataclass(frozen=True)
class Filled:
    """A collection with its vectors float32 [items, dim], and queries float32 [queries, dim]."""

    name: str
    sku_ids: list[str]
    vectors: Vectors
    queries: Vectors

    def exact(self, limit: int) -> list[list[str]]:
        """Return the best items of each query by exact search."""
        order = np.argsort(-self.queries @ self.vectors.T, axis=1)[:, :limit]
        return [[self.sku_ids[item] for item in row] for row in order]


@pytest.fixture(scope="module")
def writer(milvus_server: MilvusServer) -> Iterator[MilvusWriter]:
    """Connect a writer."""
    writer = MilvusWriter(milvus_server.uri)
    yield writer
    writer.close()


@pytest.fixture(scope="module")
def filled(writer: MilvusWriter) -> Iterator[Filled]:
    """Build a collection with vectors like those of the towers."""
    name = "recmesh_stores_test"
    rng = np.random.default_rng(3)
    # The bias is the logarithm of a share: far below 0, and much larger than the other dimensions.
    vectors = (rng.normal(size=(ROWS, DIM)) * 0.3).astype(np.float32)
    vectors[:, -1] = rng.normal(-11, 1, ROWS)
    queries = rng.normal(size=(24, DIM)).astype(np.float32)
    queries[:, -1] = 1
    sku_ids = [f"{number:07d}" for number in range(ROWS - 1)] + ["é\"'🛒"]
    writer.create(name, DIM)
    writer.insert(name, sku_ids, vectors, longest(vectors))
    writer.build(name, HNSW)
    yield Filled(name, sku_ids, vectors, queries)
    writer.drop(name)


async def test_a_search_finds_the_largest_inner_products(milvus_server: MilvusServer, filled: Filled) -> None:
    reader = MilvusReader(milvus_server.uri)
    answers = await reader.collection(filled.name, HNSW).search(filled.queries, 20, 5)
    for (ids, scores), exact, query in zip(answers, filled.exact(20), filled.queries, strict=True):
        assert list(ids) == exact
        rows = [filled.sku_ids.index(sku_id) for sku_id in ids]
        np.testing.assert_allclose(scores, filled.vectors[rows] @ query, rtol=1e-4)
    await reader.close()


async def test_joined_and_concurrent_searches_agree_with_single_searches(
    milvus_server: MilvusServer, filled: Filled
) -> None:
    reader = MilvusReader(milvus_server.uri)
    search = reader.collection(filled.name, HNSW).search
    single = [(await search(query[None], 50, 5))[0] for query in filled.queries]
    joined = await search(filled.queries, 50, 5)
    calls = await asyncio.gather(*(search(filled.queries[row : row + 1], 50, 5) for row in range(len(single))))
    for position, (ids, scores) in enumerate(single):
        for other_ids, other_scores in (joined[position], calls[position][0]):
            assert list(other_ids) == list(ids)
            np.testing.assert_allclose(other_scores, scores, rtol=1e-5)
    await reader.close()


async def test_the_limit_may_exceed_ef_and_the_number_of_rows(milvus_server: MilvusServer, filled: Filled) -> None:
    reader = MilvusReader(milvus_server.uri)
    narrow = HNSW.model_copy(update={"ef": 10})
    ((ids, _),) = await reader.collection(filled.name, narrow).search(filled.queries[:1], 5_000, 5)
    assert len(ids) == len(set(ids))
    assert ROWS * 0.9 <= len(ids) <= ROWS
    await reader.close()


async def test_failures_raise_the_documented_errors(milvus_server: MilvusServer, filled: Filled) -> None:
    reader = MilvusReader(milvus_server.uri)
    with pytest.raises(Unavailable, match="not found"):
        await reader.collection("recmesh_none", FLAT).search(filled.queries[:1], 5, 5)
    await reader.close()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        reader = MilvusReader(f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(DeadlineExceeded):
            await reader.collection(filled.name, FLAT).search(filled.queries[:1], 5, 0.1)
        await reader.close()


def test_a_wrong_uri_is_a_clear_error() -> None:
    with pytest.raises(SettingsError, match="http://host:port"):
        MilvusWriter("ftp://somewhere")
    with pytest.raises(Unavailable, match="cannot connect"):
        MilvusWriter("http://127.0.0.1:1")


def test_rows_are_counted_and_read_exactly(writer: MilvusWriter, filled: Filled) -> None:
    writer.insert(filled.name, filled.sku_ids[:500], filled.vectors[:500], longest(filled.vectors), replace=True)
    assert writer.count(filled.name) == ROWS
    stored = writer.read(filled.name, [*filled.sku_ids[-2:], "none"])
    assert set(stored) == set(filled.sku_ids[-2:])
    for sku_id, vector in stored.items():
        np.testing.assert_array_equal(vector, filled.vectors[filled.sku_ids.index(sku_id)])
    assert writer.count("recmesh_none") == 0
    assert filled.name in writer.collections()


def test_creating_a_collection_again_keeps_it_unless_the_dimension_differs(
    writer: MilvusWriter, filled: Filled
) -> None:
    assert writer.create(filled.name, DIM) == writer.create(filled.name, DIM)
    assert not writer.create(filled.name, DIM)[1]
    with pytest.raises(RecmeshError, match="has 16 dimensions, not 17"):
        writer.create(filled.name, DIM + 1)


def test_the_search_width_is_measured_and_the_index_can_be_replaced(writer: MilvusWriter, filled: Filled) -> None:
    ef, measured = smallest_ef(
        lambda queries, limit, width: writer.search(filled.name, queries, limit, width),
        filled.sku_ids,
        filled.vectors,
        filled.queries,
    )
    assert ef is not None
    assert measured[ef] >= 0.98
    writer.build(filled.name, FLAT)
    assert writer.search(filled.name, filled.queries, 20, None) == filled.exact(20)
    assert writer.count(filled.name) == ROWS


def test_searches_use_the_index_once_it_is_built(writer: MilvusWriter) -> None:
    """A narrow search of a graph misses items. Before the index is in use, Milvus scans and misses none."""
    rng = np.random.default_rng(5)
    name, ids = "recmesh_served", [f"i{row}" for row in range(6_000)]
    vectors = rng.normal(size=(len(ids), 32)).astype(np.float32)
    radius, queries = longest(vectors), rng.normal(size=(100, 32)).astype(np.float32)
    best = np.argsort(-(queries @ vectors.T), axis=1)[:, :20]
    writer.create(name, 32)
    for replace in (False, True):
        for start in range(0, len(ids), 2_000):
            part = slice(start, start + 2_000)
            writer.insert(name, ids[part], vectors[part], radius, replace)
        writer.build(name, HNSW)
        found = writer.search(name, queries, 20, 20)
        hits = [len({ids[item] for item in row} & set(got)) for row, got in zip(best, found, strict=True)]
        assert 0.3 < sum(hits) / (20 * len(queries)) < 0.98, replace
    writer.drop(name)


def restartable(uri: str) -> None:
    """Build a collection of which narrow searches miss items."""
    writer = MilvusWriter(uri)
    vectors = np.random.default_rng(5).normal(size=(6_000, DIM)).astype(np.float32)
    writer.create("recmesh_restarted", DIM)
    writer.insert("recmesh_restarted", [f"i{row}" for row in range(len(vectors))], vectors, longest(vectors))
    writer.build("recmesh_restarted", HNSW)
    writer.close()


async def passes(collection: CollectionSearch) -> None:
    """Repeat the check of a collection until it passes."""
    while True:
        with suppress(Unavailable, DeadlineExceeded):
            await collection.check(DIM, 1)
            return
        await asyncio.sleep(0.02)


async def test_after_a_restart_answers_are_as_before_from_the_first_check_that_passes(tmp_path: Path) -> None:
    """Milvus has to load the collection again. A scan without the index would find items that the index misses."""
    queries = np.random.default_rng(6).normal(size=(100, DIM)).astype(np.float32)
    server = await asyncio.to_thread(start_milvus, tmp_path)
    try:
        await asyncio.to_thread(restartable, server.uri)
        reader = MilvusReader(server.uri)
        collection = reader.collection("recmesh_restarted", NARROW)
        before = await collection.search(queries, 5, 5)
        exact = await collection.search(queries, 1_000, 5)
        assert [list(ids) for ids, _ in before] != [list(ids[:5]) for ids, _ in exact]
        server.kill()
        with pytest.raises(Unavailable):
            await collection.check(DIM, 1)
        server = await asyncio.to_thread(start_milvus, tmp_path, server.port)
        await passes(collection)
        after = await collection.search(queries, 5, 5)
        assert [list(ids) for ids, _ in after] == [list(ids) for ids, _ in before]
        await reader.close()
    finally:
        server.kill()


async def test_the_check_of_a_collection_waits_for_the_collection_and_for_its_index() -> None:
    with scripted_milvus() as milvus:
        reader = MilvusReader(milvus.uri)
        flat, graph = reader.collection("c", FLAT), reader.collection("c", HNSW)
        milvus.stored = [(1, 5_000, FLUSHED), (2, 1_024, FLUSHED), (3, 1_023, FLUSHED), (4, 5_000, GROWING)]
        for collection in (flat, graph):
            with pytest.raises(Unavailable, match="search failed: collection not loaded"):
                await collection.check(DIM, 5)
        milvus.failure, milvus.scanned = "", [1, 2, 3]
        with pytest.raises(Unavailable, match="searches of c do not use its index yet"):
            await graph.check(DIM, 5)
        milvus.indexed, milvus.scanned = [1], [2, 3]
        with pytest.raises(Unavailable, match="searches of c do not use its index yet"):
            await graph.check(DIM, 5)
        milvus.indexed, milvus.scanned = [1, 2], [3]
        await graph.check(DIM, 5)
        milvus.calls.clear()
        await flat.check(DIM, 5)
        assert milvus.calls == ["Search"], "an exact index is a scan"
        await reader.close()


async def test_a_proxy_in_the_environment_is_not_used(
    milvus_server: MilvusServer, filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "example.org")
    variable = "no_grpc_proxy"
    monkeypatch.delenv(variable, raising=False)
    writer, reader = MilvusWriter(milvus_server.uri), MilvusReader(milvus_server.uri)
    assert os.environ[variable].split(",") == ["example.org", "127.0.0.1", "localhost"]
    assert filled.name in writer.collections()
    await answered(reader, 10)
    await reader.close()
    writer.close()


@asynccontextmanager
async def half_open(target: str) -> AsyncIterator[tuple[str, Callable[[], None]]]:
    """A way to a server that can die without a word: what is connected then stays connected, and hears nothing more.

    Yields:
        Its address, and the function that lets it die. Later connections work.
    """
    host, port = target.rsplit(":", 1)
    generation = 0

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, own: int) -> None:
        with suppress(OSError):
            while content := await reader.read(65_536):
                if own == generation:
                    writer.write(content)

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, questions = await asyncio.open_connection(host, int(port))
        await asyncio.gather(pump(reader, questions, generation), pump(answers, writer, generation))

    def die() -> None:
        nonlocal generation
        generation += 1

    server = await asyncio.start_server(connect, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", die
    finally:
        server.close()


async def answered(reader: MilvusReader, timeout: float) -> None:
    """Wait for an answer, which says that there is no such collection."""
    with pytest.raises(Unavailable, match="not found"):
        await reader.uses_index("recmesh_none", timeout)


class Broken:
    """A reader whose connection has died without a word. The test sets the time."""

    def __init__(self, uri: str) -> None:
        self.now = 0.0
        self.reader = MilvusReader(uri, clock=lambda: self.now)

    async def misses(self, calls: int) -> None:
        """Make calls that find no answer."""
        for _ in range(calls):
            with pytest.raises(DeadlineExceeded):
                await answered(self.reader, 0.1)


@pytest.fixture
async def broken(milvus_server: MilvusServer) -> AsyncIterator[Broken]:
    async with half_open(milvus_server.uri.removeprefix("http://")) as (uri, die):
        made = Broken(uri)
        await answered(made.reader, 5)
        die()
        yield made
        await made.reader.close()


async def test_a_half_open_connection_is_given_up(broken: Broken) -> None:
    """Three calls find no answer; the next one has a new connection."""
    broken.now = 60.0
    await broken.misses(3)
    await answered(broken.reader, 5)


async def test_a_slow_milvus_keeps_its_connection_for_a_second(broken: Broken) -> None:
    broken.now = 0.9
    await broken.misses(6)
    broken.now = 1.0
    await broken.misses(1)
    await answered(broken.reader, 5)
