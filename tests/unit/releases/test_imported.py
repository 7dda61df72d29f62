"""A release with models from elsewhere becomes the active one by an operator's word only, and then stays it."""

from pathlib import Path

import pytest

from jobs.ingest.__main__ import _release_to_ingest
from local.datasets import Checked
from local.settings import LocalSettings
from local.up import _current_release
from recmesh.releases import ModelStore
from recmesh.releases.manifest import IMPORTED_FROM
from recmesh.releases.versions import TRAINING_VERSION
from tests.unit.releases.conftest import MakeRelease


@pytest.fixture
def store(tmp_path: Path, make_release: MakeRelease) -> ModelStore:
    """A trained release, and a newer one with models from elsewhere."""
    made = ModelStore(str(tmp_path / "store"))
    made.put(make_release("trained", code_version=str(TRAINING_VERSION)))
    made.put(make_release("imported", code_version=str(TRAINING_VERSION), extra={IMPORTED_FROM: {}}))
    return made


def test_an_ingestion_takes_it_only_when_it_is_active(store: ModelStore) -> None:
    assert _release_to_ingest(store).id == "trained"
    store.activate("imported", ())
    assert _release_to_ingest(store).id == "imported"


def test_make_up_takes_it_only_when_it_is_active(store: ModelStore, tmp_path: Path) -> None:
    settings = LocalSettings(home=tmp_path / "home", model_store=store.url)
    data = Checked(tmp_path, "f" * 64, "", "", {})

    def chosen() -> str | None:
        release = _current_release(settings, data)
        return release and release.id

    assert chosen() == "trained"
    store.activate("imported", ())
    assert chosen() == "imported"
