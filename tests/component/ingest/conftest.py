"""A data set, a Redis and a model store for tests of the ingestion."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import redis

from recmesh.dataset import DataSet, read, synthetic
from recmesh.features import Catalogue
from recmesh.releases import Manifest, ModelStore, SegmentMetrics, write_manifest
from recmesh.stores.milvus_writer import MilvusWriter
from tests.servers import MilvusServer, RedisServer, running_redis

MakeRelease = Callable[..., Manifest]
DIM = 8


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
