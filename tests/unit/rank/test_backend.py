"""The ranker in this process, and which backend the settings choose."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recmesh.features import FeatureSpec
from recmesh.releases import Manifest, ReferenceRequest
from recmesh.serving.compute_gate import ComputeGate
from services.rank import backend as backend_module
from services.rank import backends as backends_module
from services.rank.backend import Inputs, OnnxBackend, Scored
from services.rank.backends import open_backends
from services.rank.remote import RemoteOptions
from services.rank.settings import RankSettings
from tests.unit.clock import Clock
from tests.unit.metric import added


class _Session:
    """ONNX Runtime, whose outputs are the sums of the dense inputs; it takes an eighth of a second."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.asked: list[tuple[list[str], set[str]]] = []

    def run(self, outputs: list[str], inputs: dict[str, Any]) -> list[Any]:
        self.asked.append((outputs, set(inputs)))
        self.clock.now += 0.125
        return [inputs["dense"].sum(1)]


class _Gate:
    """Runs models, and keeps whether in a thread."""

    def __init__(self) -> None:
        self.in_thread: list[bool] = []

    async def run_model(self, infer: Any, *, in_thread: bool = False) -> Any:
        self.in_thread.append(in_thread)
        return infer()


def inputs(items: int) -> Inputs:
    return {"dense": np.ones((items, 3), np.float32), "sparse": np.ones((items, 2), np.int64)}


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> tuple[OnnxBackend, _Session, _Gate, list[Path]]:
    """A backend, its session, its gate, and the file that it has opened."""
    session, gate, paths = _Session(Clock(monkeypatch, "services.rank.backend")), _Gate(), list[Path]()

    def open_session(path: Path) -> _Session:
        paths.append(path)
        return session

    monkeypatch.setattr(backend_module, "session", open_session)
    used: Any = gate
    return OnnxBackend(Path("r1"), used), session, gate, paths


async def test_it_runs_the_ranker_of_the_release_for_the_output_and_is_timed(
    opened: tuple[OnnxBackend, _Session, _Gate, list[Path]],
) -> None:
    backend, session, _, paths = opened
    count, total = (added(f"recmesh_rank_backend_seconds_{part}", backend="onnx") for part in ("count", "sum"))
    scored = await backend.score(inputs(2), 1.0)
    assert (scored.scores.tolist(), scored.missing) == ([3, 3], ())
    await backend.score(inputs(2), 1.0, "affinity")
    backend.warm(inputs(1))
    await backend.ready()
    names = {"dense", "sparse"}
    assert session.asked == [(["score"], names), (["affinity"], names), (["score"], names)]
    assert paths == [Path("r1/ranker.onnx")]
    assert (count(), total()) == (3, 0.375)


async def test_more_than_500_items_are_scored_in_a_thread(
    opened: tuple[OnnxBackend, _Session, _Gate, list[Path]],
) -> None:
    backend, _, gate, _ = opened
    for items in (1, 500, 501):
        await backend.score(inputs(items), 1.0)
    assert gate.in_thread == [False, False, True]


class _Made:
    """A backend that keeps what it was made of."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> None:
    """No backend loads anything."""
    for name in ("OnnxBackend", "RemoteBackend"):
        monkeypatch.setattr(backends_module, name, type(name, (_Made,), {}))


GATE = ComputeGate.__new__(ComputeGate)


@pytest.mark.usefixtures("made")
async def test_onnx_needs_no_paddle_serving(manifest: Manifest) -> None:
    async with open_backends(RankSettings(), GATE) as create:
        made_for: Any = create(Path("r1"), manifest)
    assert (type(made_for).__name__, made_for.arguments) == ("OnnxBackend", (Path("r1"), GATE))


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize(("choice", "optional"), [("paddle-serving", False), ("auto", True)])
async def test_paddle_serving_gets_every_setting(
    manifest: Manifest, reference: ReferenceRequest, tmp_path: Path, choice: Any, optional: bool
) -> None:
    (tmp_path / "ranker").mkdir()
    reference.save(tmp_path)
    settings = RankSettings(
        rank_backend=choice,
        paddle_serving_target="gateway:1",
        paddle_serving_timeout=0.4,
        paddle_serving_wait=7,
        paddle_serving_tolerance=0.01,
    )
    async with open_backends(settings, GATE) as create:
        remote: Any = create(tmp_path, manifest)
        without: Any = create(tmp_path, manifest.model_copy(update={"ranker": None}))
    release, loaded, _, local, options = remote.arguments
    assert (type(remote).__name__, release) == ("RemoteBackend", "r1")
    assert loaded.outputs["score"].tolist() == reference.outputs["score"].tolist()
    assert local.arguments == (tmp_path, GATE)
    assert options == RemoteOptions(timeout=0.4, wait=7, tolerance=0.01, optional=optional)
    assert without.arguments[1] is None


@pytest.mark.parametrize("choice", ["onnx", "paddle-serving", "auto"])
async def test_a_starter_is_scored_by_counts_in_this_process(manifest: Manifest, tmp_path: Path, choice: Any) -> None:
    spec = FeatureSpec(
        as_of=0,
        repeats=False,
        clock=False,
        action_weights={},
        popularities=(),
        dense=("age", "popularity_all", "ridge", "cosine"),
    )
    (tmp_path / "features").mkdir()
    spec.save(tmp_path / "features" / "spec.json")
    starter = manifest.model_copy(update={"kind": "starter", "ranker": None})
    async with open_backends(RankSettings(rank_backend=choice, paddle_serving_target="gateway:1"), GATE) as create:
        backend = create(tmp_path, starter)
    dense = np.array([[1, -3, 8, 0.5], [1, -2, 9, 0]], np.float32)
    backend.warm({"dense": dense})
    await backend.ready()
    scored, affinity = [await backend.score({"dense": dense}, 1.0, output) for output in ("score", "affinity")]
    assert (scored.scores.tolist(), scored.missing) == ([-2.5, -2], ())
    assert affinity.scores.tolist() == [0.5, 0]


def test_a_result_lacks_nothing_by_default() -> None:
    assert Scored(np.zeros(1, np.float32)).missing == ()
