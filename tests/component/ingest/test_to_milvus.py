"""The command that ingests a release into Milvus, activates it and follows a rollback."""

from pathlib import Path
from unittest import mock

import numpy as np
import redis

from recmesh.releases import Manifest, ModelStore
from recmesh.stores.milvus_writer import MilvusWriter
from tests.component.ingest.conftest import Commands, MakeRelease


def assert_holds(milvus: MilvusWriter, store: ModelStore, manifest: Manifest, tmp_path: Path) -> None:
    folder = store.fetch(manifest.id, tmp_path / "check")
    sku_ids = (folder / "features" / "sku_ids.txt").read_text().split("\n")[:-1]
    vectors = np.load(folder / "item_vectors.npy")
    assert milvus.count(manifest.collection) == len(sku_ids)
    stored = milvus.read(manifest.collection, sku_ids)
    np.testing.assert_array_equal(np.array([stored[sku_id] for sku_id in sku_ids]), vectors)


def test_a_release_is_ingested_activated_superseded_and_rolled_back(
    commands: Commands, make_release: MakeRelease, store: ModelStore, milvus: MilvusWriter, tmp_path: Path
) -> None:
    first = make_release("ingest-1")
    ended = commands.ingest()
    assert ended.code == 0, ended.error
    assert "Release ingest-1 is active" in ended.output
    assert store.active() == "ingest-1"
    assert store.manifest("ingest-1").index.kind == "FLAT"
    assert_holds(milvus, store, first, tmp_path)

    again = commands.ingest()
    assert again.code == 0, again.error
    assert "Redis: current" in again.output
    assert "ingest_1: current" in again.output

    second, third = make_release("ingest-2"), make_release("ingest-3")
    for manifest in (second, third):
        assert commands.ingest("--release", manifest.id).code == 0
    assert store.active() == "ingest-3"
    assert {second.collection, third.collection} <= milvus.collections()
    assert first.collection not in milvus.collections()

    assert commands.release("rollback").code == 0
    assert store.active() == "ingest-2"
    after = commands.ingest()
    assert "ingest_2: current" in after.output
    assert store.active() == "ingest-2", "an ingestion must not undo a rollback"

    refused = commands.release("activate", "ingest-1")
    assert refused.code == 4
    assert "holds 0 rows, the release has 600 items; run the ingestion again" in refused.error
    assert store.active() == "ingest-2"

    assert "ingest-2" in commands.release("list").output
    assert '"active": true' in commands.release("show", "ingest-2", "--json").output
    assert commands.release("activate", "ingest-3").code == 0
    pruned = commands.release("prune")
    assert "deleted: ingest-1" in pruned.output, pruned.error


def test_repeating_the_ingestion_of_an_installation_restores_the_latest_release(
    commands: Commands, make_release: MakeRelease, store: ModelStore, client: "redis.Redis", milvus: MilvusWriter
) -> None:
    """On a cluster, the scheduled training uses the same mark as the training at installation."""
    for name in ("ingest-1", "ingest-2", "ingest-3"):
        newest = make_release(name)
        store.set_mark("settings", name)
        ended = commands.ingest("--mark=settings", "--prune")
        assert ended.code == 0, ended.error
    assert "Releases deleted: ingest-1" in ended.output
    assert {release.id for release in store.list()} == {"ingest-2", "ingest-3"}

    client.flushall()
    milvus.drop(newest.collection)
    rebuilt = commands.ingest("--mark=settings")
    assert rebuilt.code == 0, rebuilt.error
    assert store.active() == "ingest-3"
    assert milvus.count(newest.collection) == newest.items


def test_a_restoration_respects_a_rollback_although_pointer_and_redis_are_lost(
    commands: Commands,
    make_release: MakeRelease,
    store: ModelStore,
    client: "redis.Redis",
    milvus: MilvusWriter,
    tmp_path: Path,
) -> None:
    """What a repair runs. Everything but the data set, the releases and the copy of the pointer is gone."""
    for name in ("ingest-1", "ingest-2"):
        make_release(name)
        store.set_mark("settings", name)
        assert commands.ingest("--mark=settings").code == 0
    assert commands.release("rollback").code == 0
    active, keys = tmp_path / "store" / "active", client.dbsize()
    before = active.read_bytes()

    active.unlink()
    client.flushall()
    with mock.patch.object(MilvusWriter, "insert", side_effect=AssertionError("the collection is in use")):
        restored = commands.ingest("--mark=settings", "--restore")
    assert restored.code == 0, restored.error
    assert "Release ingest-1 is active again" in restored.output
    assert "600 vectors; Redis had no marks of it" in restored.output
    assert active.read_bytes() == before
    # The marks of the collection of ingest-2, which is not in use, are gone.
    assert client.dbsize() == keys - 1

    client.flushall()
    milvus.drop(store.manifest("ingest-1").collection)
    rebuilt = commands.ingest("--mark=settings", "--restore")
    assert rebuilt.code == 0, rebuilt.error
    assert milvus.count(store.manifest("ingest-1").collection) == 600

    (tmp_path / "store" / "last_active").unlink()
    active.unlink()
    assert "Release ingest-2 is active" in commands.ingest("--mark=settings", "--restore").output, "the latest one"


def test_what_was_activated_by_force_is_restored_without_a_comparison(
    commands: Commands, make_release: MakeRelease, store: ModelStore, tmp_path: Path
) -> None:
    make_release("forced", chain=0.05)
    assert commands.ingest().code == 4
    assert commands.release("activate", "forced", "--force").code == 0
    (tmp_path / "store" / "active").unlink()
    ended = commands.ingest("--restore")
    assert (ended.code, store.active()) == (0, "forced"), ended.error


def test_a_release_that_does_not_beat_popularity_is_ingested_but_not_activated(
    commands: Commands, make_release: MakeRelease, store: ModelStore
) -> None:
    make_release("ingest-poor", chain=0.05)
    refused = commands.ingest()
    assert refused.code == 4
    assert "0.0500 does not beat popularity's 0.1000" in refused.error
    assert refused.error.count("\n") == 1
    assert store.active() is None
    assert commands.release("activate", "ingest-poor", "--force").code == 0
    assert store.active() == "ingest-poor"


def test_without_a_release_only_redis_can_be_ingested(commands: Commands) -> None:
    refused = commands.ingest()
    assert refused.code == 4
    assert "train first" in refused.error
    assert commands.ingest("--only", "redis").code == 0
