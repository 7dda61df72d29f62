import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import redis

from recmesh.releases import Manifest, ModelStore
from recmesh.stores.milvus import MilvusWriter
from tests.component.ingest.conftest import DIM, MakeRelease
from tests.component.ingest.proxy import StallingProxy
from tests.servers import ROOT, MilvusServer, RedisServer


@pytest.fixture
def milvus(milvus_server: MilvusServer) -> Iterator[MilvusWriter]:
    """The session's Milvus; collections made by a test are dropped after it."""
    writer = MilvusWriter(milvus_server.uri)
    before = writer.collections()
    yield writer
    for name in writer.collections() - before:
        writer.drop(name)
    writer.close()


class Commands:
    """Runs the commands as an operator would."""

    def __init__(self, folder: Path, store: ModelStore, home: Path, redis_url: str, milvus_uri: str) -> None:
        self._folder, self._store, self._home = folder, store, home
        self._redis_url, self.milvus_uri = redis_url, milvus_uri

    def ingest(self, *options: str) -> "subprocess.CompletedProcess[str]":
        return self._run(self.ingest_command(self.milvus_uri, *options))

    def ingest_command(self, milvus_uri: str, *options: str) -> list[str]:
        where = ["--store", self._store.url, "--home", str(self._home), "--redis-url", self._redis_url]
        command = [sys.executable, "-m", "jobs.ingest", "--dataset", str(self._folder), "--milvus-uri", milvus_uri]
        return [*command, *where, *options]

    def release(self, command: str, *options: str) -> "subprocess.CompletedProcess[str]":
        milvus = [] if command in ("list", "show") else ["--milvus-uri", self.milvus_uri]
        where = ["--store", self._store.url, *milvus]
        return self._run([sys.executable, "-m", "recmesh", "release", command, *options, *where])

    def _run(self, command: list[str]) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture
def commands(
    folder: Path, store: ModelStore, tmp_path: Path, own_redis: RedisServer, client: "redis.Redis", milvus: MilvusWriter
) -> Commands:
    return Commands(folder, store, tmp_path / "home", own_redis.url, milvus._uri)


def assert_holds(milvus: MilvusWriter, store: ModelStore, manifest: Manifest, tmp_path: Path) -> None:
    folder = store.fetch(manifest.id, tmp_path / "check")
    sku_ids = (folder / "features" / "sku_ids.txt").read_text().split("\n")[:-1]
    vectors = np.load(folder / "item_vectors.npy")
    assert milvus.count(manifest.collection) == len(sku_ids)
    stored = milvus.read(manifest.collection, sku_ids)
    np.testing.assert_array_equal(np.array([stored[sku_id] for sku_id in sku_ids]), vectors)


def test_a_release_is_ingested_activated_followed_and_rolled_back(
    commands: Commands, make_release: MakeRelease, store: ModelStore, milvus: MilvusWriter, tmp_path: Path
) -> None:
    first = make_release("ingest-1")
    done = commands.ingest()
    assert done.returncode == 0, done.stderr
    assert "Release ingest-1 is active" in done.stdout
    assert store.active() == "ingest-1"
    assert store.manifest("ingest-1").index.kind == "FLAT"
    assert_holds(milvus, store, first, tmp_path)

    again = commands.ingest()
    assert again.returncode == 0, again.stderr
    assert "Redis: current" in again.stdout
    assert "ingest_1: current" in again.stdout

    second, third = make_release("ingest-2"), make_release("ingest-3")
    for manifest in (second, third):
        assert commands.ingest("--release", manifest.id).returncode == 0
    assert store.active() == "ingest-3"
    assert {second.collection, third.collection} <= milvus.collections()
    assert first.collection not in milvus.collections()

    assert commands.release("rollback").returncode == 0
    assert store.active() == "ingest-2"
    after = commands.ingest()
    assert "ingest_2: current" in after.stdout
    assert store.active() == "ingest-2", "an ingestion must not undo a rollback"

    refused = commands.release("activate", "ingest-1")
    assert refused.returncode == 4
    assert "holds 0 rows, the release has 600 items; run the ingestion again" in refused.stderr
    assert store.active() == "ingest-2"

    assert "ingest-2" in commands.release("list").stdout
    assert '"active": true' in commands.release("show", "ingest-2", "--json").stdout
    assert commands.release("activate", "ingest-3").returncode == 0
    pruned = commands.release("prune")
    assert "deleted: ingest-1" in pruned.stdout, pruned.stderr


def test_a_release_that_does_not_beat_popularity_is_ingested_but_not_activated(
    commands: Commands, make_release: MakeRelease, store: ModelStore
) -> None:
    make_release("ingest-poor", chain=0.05)
    refused = commands.ingest()
    assert refused.returncode == 4
    assert "0.0500 does not beat popularity's 0.1000" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert store.active() is None
    assert commands.release("activate", "ingest-poor", "--force").returncode == 0
    assert store.active() == "ingest-poor"


def test_a_killed_run_goes_on_where_it_was(
    commands: Commands,
    make_release: MakeRelease,
    store: ModelStore,
    milvus: MilvusWriter,
    milvus_server: MilvusServer,
    tmp_path: Path,
) -> None:
    manifest = make_release("ingest-killed", sku_ids=[f"{number:05d}" for number in range(9_500)])
    size = manifest.items * (DIM * 4 + 5)
    with StallingProxy(milvus_server.port, stall_after=size * 2 // 3) as proxy:
        command = commands.ingest_command(f"http://127.0.0.1:{proxy.port}", "--only", "milvus")
        first = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        assert proxy.stalled.wait(60)
        first.kill()
        first.wait()
    second = commands.ingest("--only", "milvus")
    assert second.returncode == 0, second.stderr
    assert "of them by an earlier run" in second.stdout
    assert_holds(milvus, store, manifest, tmp_path)
    milvus.drop(manifest.collection)
    third = commands.ingest("--only", "milvus")
    assert third.returncode == 0, third.stderr
    assert_holds(milvus, store, manifest, tmp_path)


def test_without_a_release_only_redis_can_be_ingested(commands: Commands) -> None:
    refused = commands.ingest()
    assert refused.returncode == 4
    assert "train first" in refused.stderr
    assert commands.ingest("--only", "redis").returncode == 0
