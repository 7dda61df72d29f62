"""Releases are in the order in which the store got them, whatever the clocks say."""

import json
from datetime import datetime, timezone
from pathlib import Path

import pytest

from jobs.ingest.__main__ import _release_to_ingest
from recmesh.releases import ModelStore
from recmesh.releases.store import Active
from tests.unit.releases.conftest import MakeRelease

FUTURE = datetime(2087, 6, 1, tzinfo=timezone.utc)


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    """Make an empty store."""
    return ModelStore(str(tmp_path / "store"))


def test_a_release_of_a_clock_that_ran_ahead_does_not_stay_the_newest(
    store: ModelStore, make_release: MakeRelease
) -> None:
    store.put(make_release("ahead", created=FUTURE))
    assert store.activate("ahead").number == 1
    assert store.put(make_release("next")).number == 2

    assert [release.id for release in store.list()] == ["next", "ahead"]
    assert _release_to_ingest(store).id == "next"
    assert store.kept() == {"ahead", "next"}
    assert store.prune() == ()

    store.activate("next")
    assert store.put(make_release("last")).number == 3
    store.activate("last")
    assert store.prune() == ("ahead",)
    assert [release.id for release in store.list()] == ["last", "next"]


def test_a_release_of_a_clock_that_ran_behind_is_ingested(store: ModelStore, make_release: MakeRelease) -> None:
    store.put(make_release("first", created=FUTURE))
    store.activate("first")
    store.put(make_release("behind", created=datetime(1971, 1, 1, tzinfo=timezone.utc)))
    assert _release_to_ingest(store).id == "behind"


def test_a_rollback_lasts_until_there_is_a_newer_release(store: ModelStore, make_release: MakeRelease) -> None:
    for release_id in ("one", "two"):
        store.put(make_release(release_id))
        store.activate(release_id)
    store.rollback()
    assert _release_to_ingest(store).id == "one"
    store.put(make_release("three"))
    assert _release_to_ingest(store).id == "three"


def test_a_number_is_not_given_twice(store: ModelStore, make_release: MakeRelease) -> None:
    for release_id in ("one", "two"):
        store.put(make_release(release_id))
    store.activate("one")
    store.delete("two")
    assert store.put(make_release("three")).number == 3
    assert _release_to_ingest(store).id == "three"


def test_putting_a_release_again_keeps_its_number(store: ModelStore, make_release: MakeRelease) -> None:
    folder = make_release("one")
    store.put(folder)
    store.put(make_release("two"))
    assert store.put(folder).number == 1
    assert store.manifest("one").number == 1


def test_a_store_of_version_0_1_0_goes_on(store: ModelStore, make_release: MakeRelease, tmp_path: Path) -> None:
    """Its releases have no number and are in the order of their times, before all that have one."""
    for release_id in ("old", "older"):
        store.put(make_release(release_id, created=datetime(2026, 6, 3 * len(release_id), tzinfo=timezone.utc)))
        path = tmp_path / "store" / "releases" / release_id / "manifest.json"
        content = json.loads(path.read_text())
        del content["number"]
        path.write_text(json.dumps(content))
    assert [release.id for release in store.list()] == ["older", "old"]
    active = tmp_path / "store" / "active"
    for day, chosen in ((1, "older"), (28, "old")):
        active.write_text(json.dumps({"id": "old", "since": f"2026-06-{day:02}T00:00:00Z", "history": []}))
        assert Active.model_validate_json(active.read_bytes()).newest is None
        assert _release_to_ingest(store).id == chosen
    store.put(make_release("new", created=datetime(2020, 1, 1, tzinfo=timezone.utc)))
    assert [release.id for release in store.list()] == ["new", "older", "old"]
    assert _release_to_ingest(store).id == "new"
    assert store.kept() == {"old", "older", "new"}
