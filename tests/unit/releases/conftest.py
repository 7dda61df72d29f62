"""A factory of small release folders."""

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from recmesh.releases import Manifest, SegmentMetrics, write_manifest

MakeRelease = Callable[..., Path]


@pytest.fixture
def make_release(tmp_path: Path) -> MakeRelease:
    """Return a function that writes a release folder, each a second newer, by default better than popularity."""
    made = 0

    def make(release_id: str, chain: float = 0.2, popularity: float = 0.1, **fields: object) -> Path:
        nonlocal made
        made += 1
        folder = tmp_path / "made" / release_id
        (folder / "features").mkdir(parents=True)
        (folder / "ranker.onnx").write_bytes(f"ranker of {release_id}".encode())
        (folder / "features" / "spec.json").write_text("{}")
        segment = SegmentMetrics(users=10, chain={"recall@10": chain}, popularity={"recall@10": popularity})
        created = datetime(2024, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=made)
        basis = {"fingerprint": "f" * 64, "schema_hash": "s", "as_of": 1, "repeats": True, "items": 3, "dim": 4}
        manifest = Manifest.model_validate(
            {"id": release_id, "created": created, "metrics": {"novel": segment}, **basis, **fields}
        )
        write_manifest(folder, manifest)
        return folder

    return make
