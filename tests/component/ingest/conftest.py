"""A data set, a Redis and a model store for tests of the ingestion."""

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import redis

import jobs.ingest.__main__
from recmesh.cli import main as cli
from recmesh.dataset import DataSet, read, synthetic
from recmesh.features import Catalogue
from recmesh.releases import Manifest, ModelStore, SegmentMetrics, write_manifest
from recmesh.stores.milvus_writer import MilvusWriter
from tests.servers import MilvusServer, RedisServer, running_redis

MakeRelease = Callable[..., Manifest]
DIM = 8


@dataclass(frozen=True)
class Ended:
    """Exit code and output of a command."""

    code: int
    output: str
    error: str


class Commands:
    """Runs commands as an operator would, but in this process."""

    def __init__(self, folder: Path, store: ModelStore, home: Path, redis_url: str, milvus_uri: str) -> None:
        self._folder, self._store, self._home = folder, store, home
        self._redis_url, self._milvus_uri = redis_url, milvus_uri

    def of(self, folder: Path) -> "Commands":
        """The same commands for another data set."""
        return Commands(folder, self._store, self._home, self._redis_url, self._milvus_uri)

    def ingest(self, *options: str) -> Ended:
        return _run(jobs.ingest.__main__.main, ["ingest", *self.ingest_options(self._milvus_uri), *options])

    def ingest_options(self, milvus_uri: str) -> list[str]:
        where = ["--store", self._store.url, "--home", str(self._home), "--redis-url", self._redis_url]
        return ["--dataset", str(self._folder), "--milvus-uri", milvus_uri, *where]

    def release(self, command: str, *options: str) -> Ended:
        milvus = [] if command in ("list", "show") else ["--milvus-uri", self._milvus_uri]
        return _run(cli.main, ["recmesh", "release", command, *options, "--store", self._store.url, *milvus])


def _run(main: Callable[[], int], arguments: list[str]) -> Ended:
    output, error = io.StringIO(), io.StringIO()
    with mock.patch.object(sys, "argv", arguments), redirect_stdout(output), redirect_stderr(error):
        try:
            code = main()
        except SystemExit as end:
            code = int(end.code or 0)
    return Ended(code, output.getvalue(), error.getvalue())


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of 5,000 users and 600 items, which is written in several chunks."""
    return synthetic(tmp_path_factory.mktemp("data") / "shop", users=5_000, products=600, seed=5)


@pytest.fixture(scope="session")
def data(folder: Path) -> DataSet:
    return read(folder)


@pytest.fixture(scope="module")
def own_redis() -> Iterator[RedisServer]:
    """A Redis apart from the session's, because an ingestion removes users and items that its data set lacks."""
    with running_redis() as server:
        yield server


@pytest.fixture
def client(own_redis: RedisServer) -> Iterator["redis.Redis"]:
    """An empty Redis."""
    with redis.Redis(port=own_redis.port) as connection:
        connection.flushall()
        yield connection


@pytest.fixture
def milvus(milvus_server: MilvusServer) -> Iterator[MilvusWriter]:
    """The Milvus of the session. Collections that a test creates are dropped afterwards."""
    writer = MilvusWriter(milvus_server.uri)
    before = writer.collections()
    yield writer
    for name in writer.collections() - before:
        writer.drop(name)
    writer.close()


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(str(tmp_path / "store"))


@pytest.fixture
def make_release(tmp_path: Path, store: ModelStore, data: DataSet) -> MakeRelease:
    """A function that puts a release into the store, with random vectors for the items of the data set."""
    return releases_of(data, store, tmp_path)


@pytest.fixture
def commands(
    folder: Path, store: ModelStore, tmp_path: Path, own_redis: RedisServer, client: "redis.Redis", milvus: MilvusWriter
) -> Commands:
    return Commands(folder, store, tmp_path / "home", own_redis.url, milvus._uri)


def releases_of(data: DataSet, store: ModelStore, folder: Path) -> MakeRelease:
    """See `make_release`."""

    def make(release_id: str, chain: float = 0.2, sku_ids: list[str] | None = None) -> Manifest:
        ids = data.items["sku_id"].to_list() if sku_ids is None else sku_ids
        release = folder / "made" / release_id
        (release / "features").mkdir(parents=True)
        index = {sku_id: number for number, sku_id in enumerate(ids)}
        Catalogue(ids, [], np.zeros((len(ids) + 1, 0), np.float32), index).save(release / "features")
        rng = np.random.default_rng(sum(release_id.encode()))
        np.save(release / "item_vectors.npy", rng.normal(size=(len(ids), DIM)).astype(np.float32))
        segment = SegmentMetrics(users=10, chain={"recall@10": chain}, popularity={"recall@10": 0.1})
        manifest = Manifest(
            id=release_id,
            fingerprint=data.fingerprint,
            schema_hash="s",
            as_of=0,
            repeats=True,
            items=len(ids),
            dim=DIM,
            metrics={"novel": segment},
        )
        write_manifest(release, manifest)
        return store.put(release)

    return make
