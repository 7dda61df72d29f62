"""The releases that a service holds, and switches that fail."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recmesh.errors import ReleaseError, Unavailable
from recmesh.releases import Manifest, ModelStore
from recmesh.serving import following
from recmesh.serving.warm import WarmReleases
from tests.unit.metric import added, value
from tests.unit.releases.conftest import MakeRelease, make_release

__all__ = ["make_release"]


class _Scene:
    """A service that loads releases from a store.

    Attributes:
        loaded: The folder and the manifest's id of each release that was loaded.
        broken: Releases that cannot be loaded.
    """

    def __init__(self, name: str, tmp_path: Path, make: MakeRelease, ready: Any = None) -> None:
        self.name = name
        self.store = ModelStore(str(tmp_path / "store"))
        for release in ("r1", "r2", "r3"):
            self.store.put(make(release))
        self.folder = tmp_path / "held"
        self.loaded: list[tuple[Path, str]] = []
        self.broken: set[str] = set()
        self.switched: list[str] = []
        self.releases = WarmReleases(name, self.store, self.folder, self._load, ready, self.switched.append)

    def _load(self, folder: Path, manifest: Manifest) -> str:
        self.loaded.append((folder, manifest.id))
        if manifest.id in self.broken:
            raise ReleaseError("damaged")
        return manifest.id.upper()

    async def switch(self, release: str) -> None:
        await self.releases._switch_to(release)

    def active(self, *names: str) -> list[float]:
        return [value("recmesh_release_active", service=self.name, release=release) for release in names]

    def switches(self) -> Callable[[], float]:
        return added("recmesh_release_switches_total", service=self.name)


@pytest.fixture
def scene(tmp_path: Path, make_release: MakeRelease, request: pytest.FixtureRequest) -> _Scene:
    return _Scene(request.node.name, tmp_path, make_release)


async def test_before_the_first_release_nothing_is_ready(scene: _Scene) -> None:
    with pytest.raises(Unavailable, match=f"{scene.name}: no release is ready yet"):
        await scene.releases.check()
    with pytest.raises(Unavailable):
        scene.releases.get("r1")


async def test_the_active_and_the_previous_release_are_held(scene: _Scene) -> None:
    switches = scene.switches()
    for release in ("r1", "r2", "r3"):
        await scene.switch(release)
    await scene.releases.check()
    assert [scene.releases.get(release) for release in ("", "r3", "r2", "r1", "unheard of")] == [
        ("r3", "R3"),
        ("r3", "R3"),
        ("r2", "R2"),
        ("r3", "R3"),
        ("r3", "R3"),
    ]
    assert (scene.active("r1", "r2", "r3"), switches()) == ([0, 0, 1], 3)
    await scene.switch("r2")
    assert scene.switched == ["R1", "R2", "R3", "R2"], "the one before is held, and is not loaded again"
    assert scene.loaded == [(scene.folder / release, release) for release in ("r1", "r2", "r3")]


async def test_a_return_to_the_previous_release_loads_nothing(scene: _Scene) -> None:
    for release in ("r1", "r2", "r1"):
        await scene.switch(release)
    assert scene.releases.get() == ("r1", "R1")
    assert scene.releases.get("r2") == ("r2", "R2")
    assert [release for _, release in scene.loaded] == ["r1", "r2"]
    assert scene.active("r1", "r2") == [1, 0]


async def test_a_switch_that_fails_changes_nothing(scene: _Scene) -> None:
    await scene.switch("r1")
    switches = scene.switches()
    scene.broken = {"r2"}
    with pytest.raises(ReleaseError, match="damaged"):
        await scene.switch("r2")
    assert (scene.releases.get("r2"), scene.active("r1", "r2"), switches()) == (("r1", "R1"), [1, 0], 0)


async def test_a_return_to_a_release_whose_files_are_damaged_keeps_the_present_one(scene: _Scene) -> None:
    for release in ("r1", "r2", "r3"):
        await scene.switch(release)
    (scene.folder / "r1" / "ranker.onnx").write_bytes(b"damaged")
    (Path(scene.store.url) / "releases" / "r1" / "ranker.onnx").write_bytes(b"damaged")
    with pytest.raises(ReleaseError):
        await scene.switch("r1")
    assert scene.releases.get() == ("r3", "R3")
    assert scene.releases.get("r2") == ("r2", "R2")


async def test_a_release_serves_only_once_its_dependencies_are_ready(tmp_path: Path, make_release: MakeRelease) -> None:
    asked: list[str] = []
    begun, ready = asyncio.Event(), asyncio.Event()

    async def wait(release: str) -> None:
        asked.append(release)
        begun.set()
        await ready.wait()

    scene = _Scene("waiting", tmp_path, make_release, wait)
    switching = asyncio.create_task(scene.switch("r1"))
    await begun.wait()
    with pytest.raises(Unavailable):
        scene.releases.get()
    ready.set()
    await switching
    assert (scene.releases.get(), asked) == (("r1", "R1"), ["R1"])


async def test_it_follows_the_store_at_the_interval(scene: _Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    followed: list[tuple[object, ...]] = []

    async def follow(*arguments: object) -> None:
        followed.append(arguments)

    monkeypatch.setattr(following, "follow", follow)
    await scene.releases.follow(2.5)
    assert followed == [(scene.name, scene.store, 2.5, scene.releases._switch_to)]
