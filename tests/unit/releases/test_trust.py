"""What a model store holds is not trusted: names, ids, links, and what a killed download left behind."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from recmesh.errors import ReleaseError
from recmesh.releases import ModelStore, read_manifest
from recmesh.releases.manifest import replace_file
from tests.servers import ROOT
from tests.unit.releases.conftest import MakeRelease

HOSTILE_NAMES = (
    *("../outside", "features/../../outside", "/etc/passwd", "..", ".", "", "a//b", ".hidden"),
    *("a\\..\\b", "C:\\x", "a\0b", "line\nbreak", "x" * 200, "manifest.json"),
)


def renamed_file(manifest: Path, old: str, new: str) -> None:
    """Give a file another name in a manifest."""
    content = json.loads(manifest.read_text())
    content["files"][new] = content["files"].pop(old)
    manifest.write_text(json.dumps(content))


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_name_that_leads_out_of_the_release_is_refused_before_anything_is_read(
    name: str, tmp_path: Path, make_release: MakeRelease
) -> None:
    store, made = ModelStore(str(tmp_path / "store")), make_release("r1")
    store.put(made)
    stored = tmp_path / "store" / "releases" / "r1"
    (tmp_path / "store" / "outside").write_bytes((made / "ranker.onnx").read_bytes())
    for manifest in (made / "manifest.json", stored / "manifest.json"):
        renamed_file(manifest, "ranker.onnx", name)
    with pytest.raises(ReleaseError, match="is no name of a file within the release"):
        store.fetch("r1", tmp_path / "cache")
    with pytest.raises(ReleaseError, match="is no name of a file within the release"):
        store.put(made)
    assert not (tmp_path / "cache").exists()
    assert store.list() == []


@pytest.mark.parametrize("name", ["ranker/__model__", "a/b-c/d_1.npz"])
def test_ordinary_names_are_accepted(name: str, tmp_path: Path, make_release: MakeRelease) -> None:
    made = make_release("r1")
    renamed_file(made / "manifest.json", "ranker.onnx", name)
    (made / name).parent.mkdir(parents=True)
    (made / "ranker.onnx").rename(made / name)
    store = ModelStore(str(tmp_path / "store"))
    store.put(made)
    assert (store.fetch("r1", tmp_path / "cache") / name).read_bytes() == b"ranker of r1"


def test_a_link_to_another_place_is_not_put_into_the_store(tmp_path: Path, make_release: MakeRelease) -> None:
    made = make_release("r1")
    secret = tmp_path / "secret"
    shutil.move(made / "ranker.onnx", secret)
    (made / "ranker.onnx").symlink_to(secret)
    with pytest.raises(ReleaseError, match=r"ranker\.onnx: a link to a place outside release r1"):
        ModelStore(str(tmp_path / "store")).put(made)
    assert not (tmp_path / "store" / "releases").exists()


def test_a_link_within_the_release_is_put_into_the_store(tmp_path: Path, make_release: MakeRelease) -> None:
    made = make_release("r1")
    (made / "ranker.onnx").rename(made / "features" / "ranker")
    (made / "ranker.onnx").symlink_to(made / "features" / "ranker")
    store = ModelStore(str(tmp_path / "store"))
    store.put(made)
    assert (store.fetch("r1", tmp_path / "cache") / "ranker.onnx").read_bytes() == b"ranker of r1"


def test_a_manifest_of_another_release_is_refused(tmp_path: Path, make_release: MakeRelease) -> None:
    store = ModelStore(str(tmp_path / "store"))
    for release_id in ("r1", "r2"):
        store.put(make_release(release_id))
    folders = tmp_path / "store" / "releases"
    shutil.copy(folders / "r1" / "manifest.json", folders / "r2" / "manifest.json")
    message = "release r2: its manifest is that of release r1"
    for use in (store.manifest, store.activate, lambda name: store.fetch(name, tmp_path / "cache")):
        with pytest.raises(ReleaseError, match=message):
            use("r2")
    assert [release.id for release in store.list()] == ["r1"]


def test_activation_reads_every_file(tmp_path: Path, make_release: MakeRelease) -> None:
    """The size alone would not show that the bytes are others."""
    store = ModelStore(str(tmp_path / "store"))
    store.put(make_release("r1"))
    stored = tmp_path / "store" / "releases" / "r1" / "features" / "spec.json"
    stored.write_bytes(b"[]")
    with pytest.raises(ReleaseError, match=r"spec\.json is damaged in the store: its SHA-256 differs"):
        store.activate("r1", ())
    stored.unlink()
    with pytest.raises(ReleaseError, match=r"spec\.json is missing"):
        store.activate("r1", ())
    assert store.active() is None


KILLED = """
import os, sys
from pathlib import Path
from recmesh.releases import ModelStore
store = ModelStore(sys.argv[1])
def get_file(source, target):
    Path(target).write_bytes(b"half of it")
    os.kill(os.getpid(), 9)
store._fs.get_file = get_file
store.fetch("r1", Path(sys.argv[2]))
"""


def test_the_folder_of_a_killed_download_is_removed_by_the_next_one(tmp_path: Path, make_release: MakeRelease) -> None:
    store, cache = ModelStore(str(tmp_path / "store")), tmp_path / "cache"
    for release_id in ("r1", "r2"):
        store.put(make_release(release_id))
    command = [sys.executable, "-c", textwrap.dedent(KILLED), store.url, str(cache)]
    killed = subprocess.run(command, check=False, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert killed.returncode == -9
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 1
    assert read_manifest(store.fetch("r2", cache)).id == "r2"
    assert [path.name for path in cache.iterdir()] == ["r2"]


def test_what_a_killed_write_left_is_removed_by_the_next_one(tmp_path: Path) -> None:
    path, other = tmp_path / "active", tmp_path / f".active.{'0' * 32}"
    code = """
import os, sys
from pathlib import Path
from recmesh.releases import manifest
manifest.os.fsync = lambda file: os.kill(os.getpid(), 9)
manifest.replace_file(Path(sys.argv[1]), b"half of it")
"""
    replace_file(path, b"old")
    killed = subprocess.run([sys.executable, "-c", code, str(path)], check=False, cwd=ROOT)
    assert killed.returncode == -9
    assert len(list(tmp_path.iterdir())) == 2
    with other.open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        replace_file(path, b"new")
        assert sorted(tmp_path.iterdir()) == [other, path], "another process is writing this one"
    replace_file(path, b"newest")
    assert [(left.name, left.read_bytes()) for left in tmp_path.iterdir()] == [("active", b"newest")]


def test_a_download_leaves_those_of_other_processes_alone(tmp_path: Path, make_release: MakeRelease) -> None:
    store, cache = ModelStore(str(tmp_path / "store")), tmp_path / "cache"
    for release_id in ("r1", "r2"):
        store.put(make_release(release_id))
    get_file, seen = store._fs.get_file, []

    def with_another_download(source: str, target: str) -> None:
        store._fs.get_file = get_file
        ModelStore(store.url).fetch("r2", cache)
        seen.append(Path(target).parent.is_dir())
        get_file(source, target)

    store._fs.get_file = with_another_download
    assert (store.fetch("r1", cache) / "ranker.onnx").read_bytes() == b"ranker of r1"
    assert seen == [True]
    assert sorted(path.name for path in cache.iterdir()) == ["r1", "r2"]
