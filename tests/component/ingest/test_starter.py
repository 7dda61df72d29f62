"""`jobs.ingest --starter`: when a starter is made, and when not. tests/mesh/test_starter.py serves one."""

from pathlib import Path

import pytest

from jobs.ingest.starter import starter_id, write_starter
from recmesh.dataset import DataSet, read
from recmesh.features import Encoder
from recmesh.releases import ModelStore, read_manifest, write_manifest
from recmesh.stores.milvus_writer import MilvusWriter
from tests.component.ingest.conftest import Commands, MakeRelease

COUNTING = "counting a starter"


@pytest.fixture
def starter(data: DataSet) -> str:
    """The id of the starter of the data set."""
    return starter_id(data)


def test_it_is_made_once_and_is_active_until_the_marked_training_has_finished(
    commands: Commands, make_release: MakeRelease, store: ModelStore, starter: str
) -> None:
    for counted in (True, False):
        waiting = commands.ingest("--starter", "--mark", "settings")
        assert waiting.code == 4
        assert "no training with the mark settings has finished" in waiting.error
        assert (COUNTING in waiting.output) is counted
        assert store.active() == starter

    make_release("trained")
    store.set_mark("settings", "trained")
    ended = commands.ingest("--starter", "--mark", "settings")
    assert ended.code == 0, ended.error
    assert store.active() == "trained"
    again = commands.ingest("--starter", "--mark", "another")
    assert (again.code, store.active()) == (4, "trained")
    assert COUNTING not in again.output
    pruned = commands.release("prune")
    assert f"deleted: {starter}" in pruned.output, pruned.error


def test_it_stays_if_the_trained_release_does_not_beat_popularity(
    commands: Commands, make_release: MakeRelease, store: ModelStore, starter: str
) -> None:
    commands.ingest("--starter", "--mark", "settings")
    make_release("poor", chain=0.05)
    store.set_mark("settings", "poor")
    refused = commands.ingest("--starter", "--mark", "settings")
    assert refused.code == 4
    assert "0.0500 does not beat popularity's 0.1000" in refused.error
    assert store.active() == starter


def test_a_starter_that_does_not_load_is_not_activated_and_stops_nothing(
    commands: Commands, store: ModelStore, data: DataSet, starter: str, tmp_path: Path
) -> None:
    folder = tmp_path / "damaged"
    folder.mkdir()
    write_starter(data, starter, folder)
    (folder / "features" / "statistics.npz").write_bytes(b"no archive")
    write_manifest(folder, read_manifest(folder))
    store.put(folder)
    ended = commands.ingest("--starter", "--mark", "settings")
    assert f"No starter: release {starter} refused" in ended.output.replace("\n", " ")
    assert "no training with the mark settings has finished" in ended.error
    assert store.active() is None


def test_without_the_option_there_is_none(commands: Commands, store: ModelStore) -> None:
    commands.ingest("--mark", "settings")
    assert (store.active(), store.list()) == (None, [])


@pytest.mark.parametrize("options", [("--only", "redis"), ("--no-activate",)])
def test_an_ingestion_that_activates_nothing_makes_none(
    commands: Commands, store: ModelStore, options: tuple[str, ...]
) -> None:
    commands.ingest("--starter", *options)
    assert (store.active(), store.list()) == (None, [])


def test_a_store_with_a_trained_release_gets_none(
    commands: Commands, make_release: MakeRelease, store: ModelStore
) -> None:
    """Not even if the pointer to the active release was deleted while the next training runs."""
    make_release("trained")
    ended = commands.ingest("--starter", "--mark", "next")
    assert ended.code == 4
    assert (store.active(), [release.id for release in store.list()]) == (None, ["trained"])


def test_a_run_that_was_killed_before_the_activation_is_finished(
    commands: Commands, store: ModelStore, starter: str
) -> None:
    commands.ingest("--starter")
    (Path(store.url) / "active").unlink()
    ended = commands.ingest("--starter")
    assert store.active() == starter
    assert COUNTING not in ended.output


def test_the_last_shard_makes_it_when_redis_is_complete(
    commands: Commands, store: ModelStore, starter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOB_COMPLETIONS", "2")
    for shard, active in (("1", None), ("0", starter)):
        monkeypatch.setenv("JOB_COMPLETION_INDEX", shard)
        commands.ingest("--starter")
        assert store.active() == active


@pytest.fixture
def changing(folder: Path, tmp_path: Path) -> Path:
    """A copy of the data set."""
    copy = tmp_path / "changing"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    return copy


def test_the_starter_of_a_changed_data_set_replaces_it(
    commands: Commands, changing: Path, store: ModelStore, starter: str, tmp_path: Path
) -> None:
    """Items that are gone are not offered until the first training has finished."""
    commands.ingest("--starter")
    header, first, *rest = (changing / "products.csv").read_text().splitlines(keepends=True)
    (changing / "products.csv").write_text(header + "".join(rest))
    ended = commands.of(changing).ingest("--starter")
    active = store.active()
    assert active is not None
    assert active not in (None, starter), ended.error
    catalogue = Encoder.load(store.fetch(active, tmp_path / "fetched")).catalogue
    assert first.split(",")[0] not in catalogue.index
    assert len(catalogue) == len(rest)


def test_a_data_set_that_is_too_small_is_an_error(commands: Commands, store: ModelStore, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    (small / "schema.yaml").write_text("user: {id: user}\nitem: {id: item}\naction: {user: user, item: item}\n")
    (small / "actions.csv").write_text("user,item\n1,1\n")
    ended = commands.of(small).ingest("--starter", "--wait", "600")
    assert ended.code == 3
    assert ended.error == f"ingest: {small}: 1 actions are too few; training needs at least 50\n"
    assert (store.active(), store.list()) == (None, [])


def test_it_cannot_be_ingested_by_name(
    commands: Commands, store: ModelStore, milvus: MilvusWriter, starter: str
) -> None:
    commands.ingest("--starter")
    ended = commands.ingest("--release", starter)
    assert ended.code == 4
    assert ended.error == f"ingest: release {starter} is a starter, which has no vectors: use --starter\n"
    assert store.manifest(starter).collection not in milvus.collections()


def test_its_manifest_says_what_it_is(commands: Commands, store: ModelStore, data: DataSet, folder: Path) -> None:
    commands.ingest("--starter")
    (manifest,) = store.list()
    assert (manifest.kind, manifest.format, manifest.dim, manifest.metrics) == ("starter", 3, 0, {})
    assert (manifest.items, manifest.fingerprint) == (600, read(folder).fingerprint)
    assert set(manifest.rankers.values()) == {"merge"}
    shown = commands.release("show", manifest.id)
    assert "starter" in shown.output.replace(manifest.id, "")
