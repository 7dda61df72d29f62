"""The backend in Paddle Serving: its share of the time, its failures, and what is counted of both."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from recmesh.errors import DeadlineExceeded, InvalidRequest, RecmeshError, Unavailable
from recmesh.releases import ReferenceRequest
from services.rank.backend import Inputs, Scored
from services.rank.paddle_serving.wire import NotHeld
from services.rank.remote import RemoteBackend, RemoteOptions
from tests.unit.clock import Clock
from tests.unit.metric import added, value

INPUTS: Inputs = {"dense": np.ones((2, 3), np.float32), "sparse": np.ones((2, 2), np.int64)}
OPTIONS = RemoteOptions(timeout=0.3, wait=1.0, tolerance=0.1, optional=False)
SCORES = np.array([5, 6], np.float32)


class _Remote:
    """Paddle Serving: what it answers, or the error that it raises, and what it was asked.

    Attributes:
        takes: Seconds that it takes to answer.
        asked: Release and timeout of each call.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.error: RecmeshError | None = None
        self.outputs: Mapping[str, Any] = {"score": SCORES, "affinity": -SCORES}
        self.takes = 0.0
        self.asked: list[tuple[str, float]] = []

    async def infer(self, release: str, inputs: Inputs, timeout: float) -> Mapping[str, Any]:
        self.asked.append((release, timeout))
        self.clock.now += self.takes
        if self.error is not None:
            raise self.error
        return {name: scores[: len(inputs["dense"])] for name, scores in self.outputs.items()}


class _Local:
    """The backend in this process, and the timeouts and outputs that it was given."""

    def __init__(self) -> None:
        self.asked: list[tuple[float, str]] = []
        self.warmed: list[Inputs] = []

    async def score(self, inputs: Inputs, timeout: float, output: str = "score") -> Scored:
        self.asked.append((timeout, output))
        return Scored(np.array([1, 2], np.float32))

    def warm(self, inputs: Inputs) -> None:
        self.warmed.append(inputs)

    async def ready(self) -> None: ...


class _Scene:
    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, reference: ReferenceRequest | None, options: RemoteOptions = OPTIONS
    ) -> None:
        modules = ("services.rank.remote", "services.rank.breaker", "recmesh.serving.deadline")
        self.clock = Clock(monkeypatch, *modules)
        self.remote, self.local = _Remote(self.clock), _Local()
        remote: Any = self.remote
        self.backend = RemoteBackend("r7", reference, remote, self.local, options)

    async def scored(self, timeout: float = 10.0, output: str = "score") -> tuple[list[float], list[str]]:
        scored = await self.backend.score(INPUTS, timeout, output)
        return scored.scores.tolist(), list(scored.missing)


@pytest.fixture
def recorded() -> ReferenceRequest:
    """Paddle Serving answers it as recorded."""
    return ReferenceRequest(INPUTS, {"score": SCORES})


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch, recorded: ReferenceRequest) -> _Scene:
    return _Scene(monkeypatch, recorded)


LOCAL = ([1.0, 2.0], ["paddle-serving"])


async def test_paddle_serving_is_asked_for_the_release_within_its_timeout_and_half_of_the_time(scene: _Scene) -> None:
    assert await scene.scored(timeout=0.7) == ([5, 6], [])
    assert await scene.scored(timeout=0.5, output="affinity") == ([-5, -6], [])
    assert scene.remote.asked == [("r7", 0.3), ("r7", 0.25)]
    assert scene.local.asked == []


async def test_this_process_gets_the_rest_of_the_time_and_the_same_output(scene: _Scene) -> None:
    scene.remote.error, scene.remote.takes = DeadlineExceeded("late"), 0.25
    assert await scene.scored(timeout=0.5, output="affinity") == LOCAL
    assert scene.local.asked == [(0.25, "affinity")]


@pytest.mark.parametrize(
    "outputs", [{}, {"affinity": SCORES}, {"score": SCORES[:1]}], ids=["none", "another", "too short"]
)
async def test_an_answer_without_the_scores_is_a_failure(scene: _Scene, outputs: Mapping[str, Any]) -> None:
    failures = added("recmesh_rank_backend_failures_total", backend="paddle-serving", reason="Unavailable")
    scene.remote.outputs = outputs
    assert await scene.scored() == LOCAL
    assert failures() == 1


async def test_three_failures_open_the_breaker_but_refusals_do_not(scene: _Scene) -> None:
    failures, refusals = (
        added("recmesh_rank_backend_failures_total", backend="paddle-serving", reason=reason)
        for reason in ("Unavailable", "InvalidRequest")
    )
    scene.remote.error = InvalidRequest("no")
    for _ in range(5):
        assert await scene.scored() == LOCAL
    scene.remote.error = Unavailable("down")
    for _ in range(5):
        assert await scene.scored() == LOCAL
    assert len(scene.remote.asked) == 5 + 3
    assert (refusals(), failures()) == (5, 3)
    assert value("recmesh_rank_backend_open", backend="paddle-serving") == 1


async def test_only_successful_runs_are_timed(scene: _Scene) -> None:
    count, total = (
        added(f"recmesh_rank_backend_seconds_{part}", backend="paddle-serving") for part in ("count", "sum")
    )
    scene.remote.takes = 0.125
    await scene.scored()
    assert (count(), total()) == (1, 0.125)
    scene.remote.error = Unavailable("down")
    await scene.scored()
    assert (count(), total()) == (1, 0.125)


async def test_a_success_forgives_earlier_failures(scene: _Scene) -> None:
    for error in (Unavailable("down"), Unavailable("down"), None, Unavailable("down"), Unavailable("down")):
        scene.remote.error = error
        await scene.scored()
    assert len(scene.remote.asked) == 5
    scene.remote.error = None
    assert await scene.scored() == ([5, 6], [])


async def test_a_new_release_polls_every_tenth_of_a_second_for_as_long_as_it_waits(scene: _Scene) -> None:
    scene.remote.error = NotHeld("another release")
    await scene.backend.ready()
    assert scene.clock.pauses == [0.1] * len(scene.clock.pauses)
    assert sum(scene.clock.pauses) == pytest.approx(1.0, abs=0.11)
    assert scene.remote.asked == [("r7", 0.3)] * (len(scene.clock.pauses) + 1)
    scene.remote.error = None
    assert await scene.scored() == LOCAL
    assert value("recmesh_rank_backend_open", backend="paddle-serving") == 1


async def test_a_new_release_is_ready_as_soon_as_the_recorded_scores_come_back(scene: _Scene) -> None:
    scene.remote.outputs = {"score": SCORES + 2}
    scene.clock.at_pause = lambda: setattr(scene.remote, "outputs", {"score": SCORES})
    await scene.backend.ready()
    assert scene.clock.pauses == [0.1]
    assert await scene.scored() == ([5, 6], [])


async def test_if_optional_a_new_release_waits_only_for_a_switch(
    monkeypatch: pytest.MonkeyPatch, recorded: ReferenceRequest
) -> None:
    scene = _Scene(monkeypatch, recorded, replace(OPTIONS, optional=True))
    scene.remote.error = Unavailable("not running")
    await scene.backend.ready()
    assert scene.clock.pauses == []
    assert await scene.scored() == ([1.0, 2.0], [])

    scene.remote.error = NotHeld("another release")
    scene.clock.at_pause = lambda: setattr(scene.remote, "error", None)
    await scene.backend.ready()
    assert scene.clock.pauses == [0.1]
    assert await scene.scored() == ([5, 6], [])
    scene.remote.error = Unavailable("down")
    assert await scene.scored() == LOCAL


async def test_without_a_reference_request_this_process_has_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = _Scene(monkeypatch, None)
    await scene.backend.ready()
    assert await scene.scored(timeout=0.5) == LOCAL
    assert scene.remote.asked == []
    assert scene.local.asked == [(0.5, "score")]


def test_this_process_is_warmed_up(scene: _Scene) -> None:
    scene.backend.warm(INPUTS)
    assert scene.local.warmed == [INPUTS]
