"""The model store: releases, activation, copies and marks."""

import os
import uuid
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import fsspec
import pytest

from recmesh.dataset.archive import Archive
from recmesh.errors import ReleaseError, SettingsError
from recmesh.releases import (
    Compared,
    Difference,
    Index,
    Manifest,
    ModelStore,
    SegmentMetrics,
    beats_popularity,
    not_worse_than,
    read_manifest,
    rows_match,
    same_data_as,
    write_manifest,
)
from recmesh.releases.abandoned import remove_abandoned
from tests.strange import STRANGE
from tests.unit.releases.conftest import MakeRelease


@pytest.fixture(params=["file", "memory", "strange file", "strange memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ModelStore:
    """Make an empty store, in a folder or in memory, also under a path with strange characters."""
    name = f"{STRANGE}/store" if request.param.startswith("strange") else "store"
    if request.param.endswith("file"):
        return ModelStore(str(tmp_path / name))
    return ModelStore(f"memory://{uuid.uuid4().hex}/{name.replace('::', '')}")


def test_an_empty_store_has_no_releases(store: ModelStore) -> None:
    assert store.list() == []
    assert store.active() is None
    with pytest.raises(ReleaseError, match="no release r1"):
        store.manifest("r1")
    with pytest.raises(ReleaseError, match="no release r1"):
        store.activate("r1")
    with pytest.raises(ReleaseError, match="no earlier release"):
        store.rollback()


def test_a_release_is_put_listed_and_fetched(store: ModelStore, make_release: MakeRelease, tmp_path: Path) -> None:
    for release_id in ("r1", "r2"):
        store.put(make_release(release_id))
    assert [release.id for release in store.list()] == ["r2", "r1"]
    folder = store.fetch("r1", tmp_path / "cache")
    assert (folder / "ranker.onnx").read_bytes() == b"ranker of r1"
    assert (folder / "features" / "spec.json").read_text() == "{}"
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["r1"]


def test_putting_a_release_again_is_allowed_unless_it_is_damaged(store: ModelStore, make_release: MakeRelease) -> None:
    folder = make_release("r1")
    store.put(folder)
    store.put(folder)
    (folder / "ranker.onnx").write_bytes(b"damaged")
    with pytest.raises(ReleaseError, match="damaged"):
        store.put(folder)


def test_an_incomplete_release_is_not_listed(
    tmp_path: Path, make_release: MakeRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, folder = ModelStore(str(tmp_path / "store")), make_release("r1")
    monkeypatch.setattr(store, "_write", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        store.put(folder)
    monkeypatch.undo()
    assert (tmp_path / "store" / "releases" / "r1" / "ranker.onnx").exists()
    assert store.list() == []
    with pytest.raises(ReleaseError):
        store.fetch("r1", tmp_path / "cache")
    store.put(folder)
    assert [release.id for release in store.list()] == ["r1"]


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_damaged_cache_is_fetched_again(store: ModelStore, make_release: MakeRelease, tmp_path: Path) -> None:
    store.put(make_release("r1"))
    cached = store.fetch("r1", tmp_path / "cache") / "ranker.onnx"
    cached.write_bytes(b"x" * cached.stat().st_size)
    assert (store.fetch("r1", tmp_path / "cache") / "ranker.onnx").read_bytes() == b"ranker of r1"
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["r1"]


def test_old_copies_are_removed(store: ModelStore, make_release: MakeRelease, tmp_path: Path) -> None:
    for release_id in ("r1", "r2", "r3", "r4", "r5"):
        store.put(make_release(release_id))
    store.activate("r1")
    for number, release_id in enumerate(("r1", "r2", "r3", "r4", "r2", "r5")):
        copy = store.fetch(release_id, tmp_path / "cache")
        os.utime(copy, ns=(number, number))  # independent of the resolution of file times
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {"r1", "r2", "r4", "r5"}


def test_fetching_into_the_store_itself_removes_no_release(make_release: MakeRelease, tmp_path: Path) -> None:
    store = ModelStore(str(tmp_path / "store"))
    names = [f"r{number}" for number in range(5)]
    for release_id in names:
        store.put(make_release(release_id))
    for release_id in names:
        store.fetch(release_id, tmp_path / "store" / "releases")
    assert sorted(release.id for release in store.list()) == names


def test_the_error_names_a_damaged_file_and_no_copy_is_left(tmp_path: Path, make_release: MakeRelease) -> None:
    store = ModelStore(str(tmp_path / "store"))
    store.put(make_release("r1"))
    stored = tmp_path / "store" / "releases" / "r1" / "ranker.onnx"
    stored.write_bytes(b"x" * stored.stat().st_size)
    with pytest.raises(ReleaseError, match=r"ranker\.onnx: damaged"):
        store.fetch("r1", tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    stored.write_bytes(b"short")
    with pytest.raises(ReleaseError, match=r"5 bytes .* 12 in the manifest"):
        store.activate("r1")


def test_rollback_goes_back_in_the_history_of_activations(store: ModelStore, make_release: MakeRelease) -> None:
    for release_id in ("r1", "r2", "r3"):
        store.put(make_release(release_id))
        store.activate(release_id)
        store.activate(release_id)
    assert store.active() == "r3"
    assert store.rollback().id == "r2"
    assert store.rollback().id == "r1"
    assert store.active() == "r1"
    with pytest.raises(ReleaseError, match="no earlier release"):
        store.rollback()
    assert store.active() == "r1"


def activated(store: ModelStore, make_release: MakeRelease, *releases: str) -> ModelStore:
    """Activate releases one after the other."""
    for release_id in releases:
        store.put(make_release(release_id))
        store.activate(release_id)
    return store


@pytest.mark.parametrize("fault", ["deleted", "damaged"])
def test_a_lost_activation_is_restored_as_it_was(fault: str, tmp_path: Path, make_release: MakeRelease) -> None:
    store, pointer = ModelStore(str(tmp_path / "store")), tmp_path / "store" / "active"
    assert store.last_active() is None
    for release_id in ("r1", "r2", "r3"):
        store.put(make_release(release_id))
        store.activate(release_id)
    store.rollback()
    before = pointer.read_bytes()
    if fault == "deleted":
        pointer.unlink()
    else:
        pointer.write_text("{")
    last = store.last_active_manifest()
    assert last is not None
    assert last.id == "r2"
    assert store.was_active("r1")
    assert not store.was_active("r3")
    store.activate("r2")
    assert pointer.read_bytes() == before
    assert store.rollback().id == "r1"


def test_another_release_keeps_the_history_of_a_lost_activation(tmp_path: Path, make_release: MakeRelease) -> None:
    store, pointer = ModelStore(str(tmp_path / "store")), tmp_path / "store" / "active"
    for release_id in ("r1", "r2"):
        store.put(make_release(release_id))
        store.activate(release_id)
    pointer.unlink()
    store.put(make_release("r3"))
    assert store.activate("r3").number == 3
    assert store.rollback().id == "r2"


def test_the_release_before_is_restored_if_the_last_one_is_gone(tmp_path: Path, make_release: MakeRelease) -> None:
    store = ModelStore(str(tmp_path / "store"))
    for release_id in ("r1", "r2"):
        store.put(make_release(release_id))
        store.activate(release_id)
    (tmp_path / "store" / "active").unlink()
    (tmp_path / "store" / "releases" / "r2" / "manifest.json").unlink()
    last = store.last_active_manifest()
    assert last is not None
    assert last.id == "r1"
    (tmp_path / "store" / "last_active").write_text("{")
    assert store.last_active_manifest() is None


def test_a_rollback_onto_damaged_files_fails_and_changes_nothing(tmp_path: Path, make_release: MakeRelease) -> None:
    store = activated(ModelStore(str(tmp_path / "store")), make_release, "r1", "r2", "r3")
    before = store.active_record()
    damaged = tmp_path / "store" / "releases" / "r2" / "ranker.onnx"
    damaged.write_bytes(b"x" * damaged.stat().st_size)
    for _ in range(2):
        with pytest.raises(ReleaseError, match=r"ranker\.onnx is damaged in the store: its SHA-256 differs"):
            store.rollback()
        assert store.active_record() == before
    damaged.write_bytes(b"ranker of r2")
    assert store.rollback().id == "r2"


def test_a_rollback_skips_releases_that_are_gone(store: ModelStore, make_release: MakeRelease) -> None:
    activated(store, make_release, "r1", "r2", "r3")
    store.delete("r2")
    assert store.rollback().id == "r1"
    record = store.active_record()
    assert record is not None and (record.id, record.history) == ("r1", ())


def test_a_rollback_that_fails_a_check_changes_nothing(store: ModelStore, make_release: MakeRelease) -> None:
    activated(store, make_release, "r1", "r2")
    checked: list[str] = []

    def check(manifest: Manifest) -> None:
        checked.append(manifest.id)
        raise ReleaseError("no")

    with pytest.raises(ReleaseError, match="no"):
        store.rollback([check])
    assert (checked, store.active()) == (["r1"], "r2")


def test_a_deletion_that_is_interrupted_leaves_no_release(
    store: ModelStore, make_release: MakeRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest goes first: a folder without one is no release."""
    activated(store, make_release, "r1", "r2")

    def interrupted(_path: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "_remove_folder", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.delete("r1")
    assert [release.id for release in store.list()] == ["r2"]
    with pytest.raises(ReleaseError, match="no release r1"):
        store.manifest("r1")


def test_the_history_names_each_release_once_and_twenty_at_most(store: ModelStore, make_release: MakeRelease) -> None:
    names = [f"r{number:02}" for number in range(23)]
    activated(store, make_release, *names)
    record = store.active_record()
    assert record is not None
    assert record.history == tuple(names[-2:-22:-1])
    store.activate("r20")
    record = store.active_record()
    assert record is not None
    assert record.history == ("r22", "r21", *names[19:1:-1])


@pytest.mark.parametrize(("chain", "popularity"), [(0.1, 0.1), (0.05, 0.1), (float("nan"), 0.1)])
def test_a_release_that_does_not_beat_popularity_is_rejected(
    store: ModelStore, make_release: MakeRelease, chain: float, popularity: float
) -> None:
    store.put(make_release("good"))
    store.activate("good")
    store.put(make_release("bad", chain=chain, popularity=popularity))
    with pytest.raises(ReleaseError, match=rf"recall@10 {chain:.4f} does not beat popularity's {popularity:.4f}"):
        store.activate("bad")
    assert store.active() == "good"
    store.activate("bad", checks=())
    assert store.active() == "bad"


@pytest.mark.parametrize(("error", "accepted"), [(0.0060, True), (0.0066, True), (0.0067, False), (0.1, False)])
def test_a_gain_over_popularity_within_noise_is_rejected(
    store: ModelStore, make_release: MakeRelease, error: float, accepted: bool
) -> None:
    """The gain is 0.02, and three standard errors of it are more from 0.0067 on."""
    segment = SegmentMetrics(
        users=10, chain={"recall@10": 0.12}, popularity={"recall@10": 0.1}, gain_errors={"recall@10": error}
    )
    store.put(make_release("r1", metrics={"novel": segment, "repeat": segment}))
    if accepted:
        store.activate("r1")
        return
    message = "recall@10 0.1200 does not beat popularity's 0.1000 by more than the uncertainty of the difference, 0."
    with pytest.raises(ReleaseError, match=message):
        store.activate("r1")


def test_a_release_without_held_out_metrics_is_rejected(store: ModelStore, make_release: MakeRelease) -> None:
    store.put(make_release("r1", metrics={}))
    with pytest.raises(ReleaseError, match="has no held-out metrics"):
        store.activate("r1")


def held_out(recall: float, error: float, window: str = "january") -> dict[str, SegmentMetrics]:
    """Make held-out metrics of 1,000 users."""
    figures, popularity = {"recall@10": recall}, {"recall@10": 0.01}
    return {
        "novel": SegmentMetrics(
            users=1000, chain=figures, popularity=popularity, errors={"recall@10": error}, window=window
        )
    }


def against(release: str, *gains: tuple[int, float, float]) -> Compared:
    """Make a comparison with a release, with (users, mean, standard error) of each segment."""
    segments = {
        f"segment {number}": Difference(users=users, mean={"recall@10": mean}, error={"recall@10": error})
        for number, (users, mean, error) in enumerate(gains)
    }
    return Compared(release=release, segments=segments)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        # 0.05 below on the same users, twice the interval. The metrics of different windows are not compared.
        ({"compared": against("good", (400, -0.05, 0.0128))}, r"0\.0500 ± 0\.0251 below .* good over 400 lists"),
        ({"compared": against("good", (300, -0.10, 0.02), (100, 0.10, 0.02))}, r"0\.0500 ± 0\.0392 below"),
        ({"compared": against("good", (300, -0.10, 0.05), (100, 0.10, 0.05))}, None),
        ({"compared": against("good", (400, 0.05, 0.01))}, None),
        # The comparison with an older active release is ignored; that of the metrics is not.
        ({"compared": against("older", (400, -0.05, 0.01))}, None),
        ({"metrics": held_out(0.10, 0.02)}, r"0\.1000 ± 0\.0554 below .* good over 1000 lists"),
        ({"metrics": held_out(0.16, 0.02)}, None),
        ({"metrics": held_out(0.10, 0.02, window="february")}, None),
        ({"metrics": held_out(0.10, 0.02), "fingerprint": "e" * 64}, None),
        ({"metrics": {}}, None),
    ],
)
def test_a_release_that_is_worse_than_the_active_release_is_rejected(
    store: ModelStore, make_release: MakeRelease, fields: dict[str, object], reason: str | None
) -> None:
    store.put(make_release("good", metrics=held_out(0.20, 0.02)))
    store.put(make_release("new", **{"metrics": held_out(0.20, 0.02, window="")} | fields))
    checks = (not_worse_than(store.active_manifest),)
    store.activate("good", checks)
    if reason is None:
        store.activate("new", checks)
        return
    with pytest.raises(ReleaseError, match=reason):
        store.activate("new", checks)
    assert store.active() == "good"
    store.activate("new", ())
    store.activate("new", checks)
    assert store.active() == "new"


def test_a_release_of_another_data_set_is_refused(store: ModelStore, make_release: MakeRelease) -> None:
    checks = (same_data_as(store.active_manifest),)
    for release_id, schema in (("films", "f"), ("grocery", "g")):
        store.put(make_release(release_id, schema_hash=schema))
    store.activate("films", checks)
    store.activate("grocery")
    refused = (
        "release films refused: its data set has another schema than that of the active release grocery, whose data "
        "the stores hold; ingest its data set with --release films"
    )
    with pytest.raises(ReleaseError, match=refused):
        store.rollback(checks)
    with pytest.raises(ReleaseError, match=refused):
        store.activate("films", checks)
    assert store.active() == "grocery"
    store.put(make_release("later", schema_hash="g"))
    store.activate("later", checks)
    assert store.rollback(checks).id == "grocery"


def test_a_release_is_activated_if_the_active_release_is_gone(tmp_path: Path, make_release: MakeRelease) -> None:
    store = ModelStore(str(tmp_path / "store"))
    store.put(make_release("good"))
    store.activate("good")
    (tmp_path / "store" / "releases" / "good" / "manifest.json").unlink()
    store.put(make_release("new", compared=against("good", (400, -0.05, 0.01))))
    store.activate("new", (not_worse_than(store.active_manifest),))
    assert store.active() == "new"


def test_a_release_with_another_report_is_the_same_release(store: ModelStore, make_release: MakeRelease) -> None:
    folder = make_release("r1")
    for seconds in (1, 2):
        (folder / "metrics.json").write_text(str(seconds))
        write_manifest(folder, read_manifest(folder))
        store.put(folder)
    assert store.read("r1", "metrics.json") == b"1"
    (folder / "ranker.onnx").write_bytes(b"of another training")
    write_manifest(folder, read_manifest(folder))
    with pytest.raises(ReleaseError, match="holds another release r1"):
        store.put(folder)


def test_a_damaged_file_is_not_read(tmp_path: Path, make_release: MakeRelease) -> None:
    store = ModelStore(str(tmp_path / "store"))
    store.put(make_release("r1"))
    assert store.read("r1", "features/spec.json") == b"{}"
    with pytest.raises(ReleaseError, match=r"r1 has no report\.html"):
        store.read("r1", "report.html")
    (tmp_path / "store" / "releases" / "r1" / "features" / "spec.json").write_text("{ }")
    with pytest.raises(ReleaseError, match=r"spec\.json of release r1 is damaged"):
        store.read("r1", "features/spec.json")


def test_a_release_with_an_incomplete_collection_is_rejected(store: ModelStore, make_release: MakeRelease) -> None:
    store.put(make_release("r1"))
    rows: dict[str, int] = {"recmesh_r1": 2}
    checks = (beats_popularity, rows_match(rows.__getitem__))
    with pytest.raises(ReleaseError, match="recmesh_r1 holds 2 rows, the release has 3 items"):
        store.activate("r1", checks)
    assert store.active() is None
    rows["recmesh_r1"] = 3
    store.activate("r1", checks)
    assert store.active() == "r1"


def test_ingestion_records_the_index(store: ModelStore, make_release: MakeRelease, tmp_path: Path) -> None:
    store.put(make_release("r1"))
    store.fetch("r1", tmp_path / "cache")
    index = Index(kind="HNSW", params={"M": 16}, ef=128)
    store.set_index("r1", index)
    assert store.manifest("r1").index == index
    fetched = ModelStore(store.url).fetch("r1", tmp_path / "cache")
    assert '"ef": 128' in (fetched / "manifest.json").read_text()


def test_prune_keeps_active_previous_and_newer_releases(store: ModelStore, make_release: MakeRelease) -> None:
    for release_id in ("r1", "r2", "r3", "r4"):
        store.put(make_release(release_id))
    assert store.prune() == ()
    for release_id in ("r1", "r2", "r3"):
        store.activate(release_id)
    assert store.prune() == ("r1",)
    assert [release.id for release in store.list()] == ["r4", "r3", "r2"]
    assert store.rollback().id == "r2"
    with pytest.raises(ReleaseError, match="no earlier release"):
        store.rollback()


@pytest.mark.parametrize("finish", ["put", "prune"])
def test_a_deletion_that_was_killed_is_finished(store: ModelStore, make_release: MakeRelease, finish: str) -> None:
    for release_id in ("r1", "r2"):
        store.put(make_release(release_id))
    with mock.patch.object(store, "_remove_folder", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        store.delete("r1")
    assert [release.id for release in store.list()] == ["r2"]
    if finish == "put":
        store.put(make_release("r3"))
    else:
        assert store.prune() == ()
    root = str(store._root)
    assert not [path for path in store._fs.find(root) if "/r1" in path.removeprefix(root)]


def test_the_active_release_cannot_be_deleted(store: ModelStore, make_release: MakeRelease) -> None:
    store.put(make_release("r1"))
    store.activate("r1")
    with pytest.raises(ReleaseError, match="is active"):
        store.delete("r1")


@pytest.mark.parametrize("call", [ModelStore.manifest, ModelStore.activate, ModelStore.delete])
def test_ids_cannot_point_outside_the_store(store: ModelStore, call: Callable[[ModelStore, str], object]) -> None:
    with pytest.raises(ReleaseError, match="is not a valid release id"):
        call(store, "../other")


def test_an_unknown_protocol_is_a_clear_error() -> None:
    with pytest.raises(SettingsError, match=r"nowhere://x.*use a folder"):
        ModelStore("nowhere://x")


def test_a_mark_names_the_release_of_the_latest_training(store: ModelStore, make_release: MakeRelease) -> None:
    with pytest.raises(ReleaseError, match="no training with the mark nightly has finished"):
        store.marked("nightly")
    for name in ("r1", "r2"):
        store.put(make_release(name))
        store.set_mark("nightly", name)
        assert store.marked("nightly").id == name
    with pytest.raises(ReleaseError, match="is not a valid mark"):
        store.set_mark("../active", "r1")


@pytest.mark.parametrize(
    ("url", "instead"),
    [
        ("s3://bucket/store", r"needs the extra \"s3\": pip install 'recmesh\[s3\]'$"),
        ("gs://bucket/store", r"needs the package gcsfs, which the images do not have; use its S3 interface: s3://"),
        ("gcs://bucket/store", "needs the package gcsfs"),
        ("az://bucket/store", "needs the package adlfs, which the images do not have; use a folder"),
        ("abfs://bucket/store", "needs the package adlfs"),
        ("nowhere://bucket/store", "Protocol not known: nowhere; use a folder or a file:// or s3:// URL$"),
        ("s3://", "names no bucket after s3://$"),
        ("gs://", "names no bucket after gs://$"),
    ],
)
def test_a_url_that_cannot_be_opened_says_what_to_use_instead(
    url: str, instead: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def url_to_fs(url: str, **options: object) -> object:
        if not url.startswith("nowhere"):
            raise ImportError("no such package")
        return opened(url, **options)

    opened = fsspec.url_to_fs
    monkeypatch.setattr(fsspec, "url_to_fs", url_to_fs)
    with pytest.raises(SettingsError, match=rf"^model store \(RECMESH_MODEL_STORE\) {url}: {instead}"):
        ModelStore(url)
    with pytest.raises(SettingsError, match=rf"^archive \(RECMESH_ARCHIVE\) {url}: {instead}"):
        Archive(url)


def test_an_abandoned_folder_that_cannot_be_removed_completely_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".r1.abc").mkdir()
    (tmp_path / ".r1.abc.lock").touch()
    removed: list[tuple[str, bool]] = []

    def rmtree(folder: Path, ignore_errors: bool = False) -> None:
        removed.append((folder.name, ignore_errors))

    monkeypatch.setattr("recmesh.releases.abandoned.shutil.rmtree", rmtree)
    remove_abandoned(tmp_path)
    assert removed == [(".r1.abc", True)]
    assert [path.name for path in tmp_path.iterdir()] == [".r1.abc"]


def test_activation_looks_at_the_store_itself_and_not_at_what_it_knew(
    store: ModelStore, make_release: MakeRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File systems such as s3fs keep listings; another process may have changed the files since."""
    store.put(make_release("r1"))
    invalidated: list[str] = []
    monkeypatch.setattr(type(store._fs), "invalidate_cache", lambda *_: invalidated.append("all"))
    store.activate("r1")
    assert invalidated
    invalidated.clear()
    assert [release.id for release in store.list()] == ["r1"]
    assert invalidated
