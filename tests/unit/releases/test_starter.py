"""A starter gives way to every trained release, and never takes its place."""

from pathlib import Path

import pytest

from jobs.ingest.__main__ import _release_to_ingest
from local.datasets import Checked
from local.settings import LocalSettings
from local.up import _current_release
from recmesh.errors import ReleaseError
from recmesh.releases import STARTER_FORMAT, ModelStore, beats_popularity, not_worse_than, replaces_no_trained
from recmesh.releases.versions import TRAINING_VERSION
from tests.unit.releases.conftest import MakeRelease


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(str(tmp_path / "store"))


def put(store: ModelStore, make_release: MakeRelease, *releases: str) -> None:
    """Put releases into the store: starters, if their names say so, and trained ones."""
    for name in releases:
        facts: dict[str, object] = {"code_version": str(TRAINING_VERSION)}
        if name.startswith("starter"):
            facts |= {"format": STARTER_FORMAT, "kind": "starter", "metrics": {}, "dim": 0}
        store.put(make_release(name, **facts))


def activate_starter(store: ModelStore, release: str) -> None:
    store.activate(release, (replaces_no_trained(store.active_manifest),))


def test_it_may_be_the_first_release_or_follow_a_starter(store: ModelStore, make_release: MakeRelease) -> None:
    put(store, make_release, "starter-1", "starter-2")
    for release in ("starter-1", "starter-2"):
        activate_starter(store, release)
        assert store.active() == release


def test_it_does_not_replace_a_trained_release(store: ModelStore, make_release: MakeRelease) -> None:
    put(store, make_release, "trained", "starter-1")
    store.activate("trained")
    with pytest.raises(ReleaseError, match="refused: it is a starter, and the release trained is active"):
        activate_starter(store, "starter-1")
    with pytest.raises(ReleaseError, match="it is a starter, which only an ingestion activates"):
        store.activate("starter-1", (beats_popularity,))
    assert store.active() == "trained"


def test_every_trained_release_replaces_it(store: ModelStore, make_release: MakeRelease) -> None:
    put(store, make_release, "starter-1", "trained")
    activate_starter(store, "starter-1")
    store.activate("trained", (beats_popularity, not_worse_than(store.active_manifest)))
    assert store.active() == "trained"


def test_a_rollback_never_leads_to_it(store: ModelStore, make_release: MakeRelease) -> None:
    put(store, make_release, "starter-1", "first", "second")
    activate_starter(store, "starter-1")
    store.activate("first")
    with pytest.raises(ReleaseError, match="no earlier release to go back to"):
        store.rollback()
    store.activate("second")
    store.activate("starter-1", ())
    assert store.rollback().id == "second", "an operator forced it, and takes it back"
    assert store.rollback().id == "first"


def test_prune_keeps_it_only_while_it_is_active(store: ModelStore, make_release: MakeRelease) -> None:
    put(store, make_release, "starter-1", "first")
    activate_starter(store, "starter-1")
    assert store.prune() == ()
    store.activate("first")
    put(store, make_release, "starter-2", "second")
    assert store.prune() == ("starter-2", "starter-1")
    assert [release.id for release in store.list()] == ["second", "first"]


def test_ingestion_and_make_up_look_for_a_trained_release(
    store: ModelStore, make_release: MakeRelease, tmp_path: Path
) -> None:
    settings, data = (
        LocalSettings(home=tmp_path / "home", model_store=store.url),
        Checked(tmp_path, "f" * 64, "", "", {}),
    )
    put(store, make_release, "starter-1")
    activate_starter(store, "starter-1")
    with pytest.raises(ReleaseError, match="there is no release to ingest"):
        _release_to_ingest(store)
    assert _current_release(settings, data) is None

    put(store, make_release, "trained")
    store.activate("starter-1", ())
    found = _current_release(settings, data)
    assert (_release_to_ingest(store).id, found and found.id) == ("trained", "trained")


def test_it_has_no_report(store: ModelStore, make_release: MakeRelease) -> None:
    put(store, make_release, "starter-1")
    with pytest.raises(ReleaseError, match=r"has no metrics\.json: it is a starter"):
        store.read("starter-1", "metrics.json")
