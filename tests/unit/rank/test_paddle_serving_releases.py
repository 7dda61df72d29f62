"""Which releases the gateway of Paddle Serving serves."""

from pathlib import Path

import pytest

from recmesh.errors import Unavailable
from recmesh.releases import Manifest, ModelStore, write_manifest
from services.rank.paddle_serving.releases import ServedReleases
from services.rank.paddle_serving.settings import PaddleServingSettings


async def test_a_starter_is_no_failure_and_starts_nothing(manifest: Manifest, tmp_path: Path) -> None:
    store, folder = ModelStore(str(tmp_path / "store")), tmp_path / "starter"
    folder.mkdir()
    (folder / "item_vectors.npy").write_bytes(b"none")
    write_manifest(folder, manifest.model_copy(update={"kind": "starter", "format": 3, "ranker": None}))
    store.put(folder)
    served = ServedReleases(store, PaddleServingSettings(home=tmp_path / "home"))
    await served._switch_to(manifest.id)
    with pytest.raises(Unavailable, match="no release is served yet"):
        served.get()
    assert not (tmp_path / "home").exists(), "nothing is fetched"
