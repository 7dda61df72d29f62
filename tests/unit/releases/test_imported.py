"""Only an operator can activate a release with imported models; then ingestion and `make up` keep using it."""

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
    """Make a store with a trained release and a newer release with imported models."""
    made = ModelStore(str(tmp_path / "store"))
    made.put(make_release("trained", code_version=str(TRAINING_VERSION)))
    made.put(make_release("imported", code_version=str(TRAINING_VERSION), extra={IMPORTED_FROM: {}}))
    return made


def test_ingestion_uses_it_only_if_it_is_active(store: ModelStore) -> None:
    assert _release_to_ingest(store).id == "trained"
    store.activate("imported", ())
    assert _release_to_ingest(store).id == "imported"


def test_make_up_uses_it_only_if_it_is_active(store: ModelStore, tmp_path: Path) -> None:
    settings = LocalSettings(home=tmp_path / "home", model_store=store.url)
    data = Checked(tmp_path, "f" * 64, "", "", {})

    def chosen() -> str | None:
        release = _current_release(settings, data)
        return release.id if release else None

    assert chosen() == "trained"
    store.activate("imported", ())
    assert chosen() == "imported"
