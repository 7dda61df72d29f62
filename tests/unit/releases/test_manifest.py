"""Manifests: what is written, read, verified and rejected."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from recmesh.errors import ReleaseError
from recmesh.releases import (
    STARTER_FORMAT,
    Manifest,
    collection_name,
    read_manifest,
    verify_folder,
    write_manifest,
)
from tests.unit.releases.conftest import MakeRelease


def test_a_manifest_is_read_as_it_was_written(make_release: MakeRelease) -> None:
    folder = make_release("r1", extra={"note": [1, 2]}, rankers={"cold": "deepfm"})
    manifest = read_manifest(folder)
    assert manifest.extra == {"note": [1, 2]}
    assert set(manifest.files) == {"ranker.onnx", "features/spec.json"}
    assert manifest.files["features/spec.json"].size == 2
    verify_folder(folder, manifest)


def test_writing_a_manifest_again_does_not_change_it(make_release: MakeRelease) -> None:
    folder = make_release("r1")
    first = read_manifest(folder)
    assert write_manifest(folder, first) == first == read_manifest(folder)


def test_the_error_names_a_changed_or_missing_file(make_release: MakeRelease) -> None:
    folder = make_release("r1")
    manifest = read_manifest(folder)
    (folder / "ranker.onnx").write_bytes(b"RANKER of r1")
    with pytest.raises(ReleaseError, match=r"ranker\.onnx: damaged"):
        verify_folder(folder, manifest)
    (folder / "ranker.onnx").unlink()
    with pytest.raises(ReleaseError, match=r"ranker\.onnx: missing"):
        verify_folder(folder, manifest)


def test_a_missing_or_damaged_manifest_is_an_error(make_release: MakeRelease, tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="the release is incomplete"):
        read_manifest(tmp_path)
    folder = make_release("r1")
    content = (folder / "manifest.json").read_bytes()
    (folder / "manifest.json").write_bytes(content[: len(content) // 2])
    with pytest.raises(ReleaseError, match="damaged manifest"):
        read_manifest(folder)


def test_a_manifest_of_format_1_is_read(make_release: MakeRelease) -> None:
    path = make_release("r1") / "manifest.json"
    content = json.loads(path.read_text())
    del content["format"], content["ranker"]
    path.write_text(json.dumps(content))
    manifest = read_manifest(path.parent)
    assert (manifest.format, manifest.ranker) == (1, None)


def test_the_error_for_a_newer_format_says_what_to_do(make_release: MakeRelease) -> None:
    ranker = {"inputs": {"dense": {"dtype": "float32", "width": 2}}, "outputs": {"score": "out"}}
    folder = make_release("r1", format=STARTER_FORMAT + 1, ranker=ranker)
    with pytest.raises(ReleaseError, match="upgrade recmesh"):
        read_manifest(folder)


def test_format_2_needs_a_description_of_the_ranker(make_release: MakeRelease) -> None:
    with pytest.raises(ValidationError, match="format 2 needs `ranker`"):
        make_release("r1", format=2)


@pytest.mark.parametrize("release_id", ["", "../r1", "a/b", ".hidden", "r" * 200])
def test_an_id_that_points_outside_its_folder_is_rejected(make_release: MakeRelease, release_id: str) -> None:
    manifest = read_manifest(make_release("r1"))
    with pytest.raises(ValidationError):
        Manifest.model_validate({**manifest.model_dump(), "id": release_id})


def test_two_ids_never_share_a_collection() -> None:
    ids = ["20240131-235959-ab12cd34", "20240131_235959-ab12cd34", "r.1", "r-1", "r_1", "r-_1", "r__1"]
    assert collection_name("20240131-235959-ab12cd34") == "recmesh_20240131_235959_ab12cd34"
    assert len({collection_name(release_id) for release_id in ids}) == len(ids)
    assert all(name.replace("_", "").isalnum() for name in map(collection_name, ids))
