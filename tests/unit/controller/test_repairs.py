"""When the controller starts a repair, and when it does not."""

import itertools
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from jobs.controller.repairs import Repairs, repair
from jobs.controller.stores import Found, Store, Stores
from recmesh.cli.jobs_api import COMPONENT, REASON
from recmesh.errors import SettingsError, Unavailable
from tests.cluster_jobs import MemoryJobs

INGEST: dict[str, Any] = {
    "metadata": {"name": "shop-ingest-0a1b2c3d", "labels": {COMPONENT: "ingest"}},
    "spec": {"template": {"spec": {"containers": [{"args": ["jobs.ingest", "--mark=m"]}]}}},
}
EMPTY, NO_POINTER = "Redis was empty", "no release was active"


class Scene:
    """A controller, what it finds, and a clock."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.found = Found()
        self.jobs = MemoryJobs({"ingest": INGEST})
        self.repairs = Repairs(cast(Stores, self), self.jobs, lambda: self.now)

    async def look(self) -> Found:
        """What the stores say."""
        return self.found

    async def after(self, seconds: float, **missing: str) -> list[str]:
        """Look again after some seconds. Returns the names of all Jobs that were started."""
        self.now += seconds
        self.found = Found(cast("dict[Store, str]", missing))
        await self.repairs.look()
        return list(self.jobs.manifests)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_a_loss_that_lasts_for_two_looks_starts_one_job_with_its_reason(scene: Scene) -> None:
    assert not scene.repairs.ready
    with capture_logs() as logs:
        assert await scene.after(10) == []
        assert await scene.after(10, redis=EMPTY) == []
        (name,) = await scene.after(10, redis=EMPTY)
        assert await scene.after(10, redis=EMPTY) == [name], "it runs"
    assert scene.repairs.ready
    assert scene.jobs.manifests[name] == {
        "metadata": {
            "generateName": "shop-ingest-repair-",
            "labels": {COMPONENT: "ingest"},
            "annotations": {REASON: EMPTY},
        },
        "spec": {
            "ttlSecondsAfterFinished": 86_400,
            "template": {"spec": {"containers": [{"args": ["jobs.ingest", "--mark=m", "--restore"]}]}},
        },
    }
    assert [entry["event"] for entry in logs] == ["store has lost data", "repair started", "repair waits"]
    assert (logs[1]["job"], logs[1]["reason"]) == (name, EMPTY)
    assert sample("recmesh_store_missing", store="redis") == 1
    assert sample("recmesh_store_missing", store="model_store") == 0

    complete = sample("recmesh_repairs_total", outcome="complete")
    scene.jobs.end(name)
    with capture_logs() as logs:
        assert await scene.after(10) == [name]
        assert await scene.after(10) == [name]
    assert [entry["event"] for entry in logs] == ["store is in order", "repair ended"]
    assert sample("recmesh_repairs_total", outcome="complete") == complete + 1
    assert sample("recmesh_store_missing", store="redis") == 0


async def test_a_loss_that_one_look_sees_is_none(scene: Scene) -> None:
    for _ in range(5):
        await scene.after(10, redis=EMPTY)
        await scene.after(10)
    await scene.after(10, redis=EMPTY)
    assert await scene.after(10, model_store=NO_POINTER) == []


async def test_two_losses_at_once_need_one_job(scene: Scene) -> None:
    await scene.after(10, redis=EMPTY, model_store=NO_POINTER)
    (name,) = await scene.after(10, redis=EMPTY, model_store=NO_POINTER)
    assert scene.jobs.manifests[name]["metadata"]["annotations"][REASON] == f"{EMPTY}; {NO_POINTER}"


@pytest.mark.parametrize("component", ["train", "retrain", "ingest", "import"])
async def test_no_repair_runs_beside_a_job_that_writes(scene: Scene, component: str) -> None:
    scene.jobs.add("other", component)
    with capture_logs() as logs:
        for _ in range(5):
            assert await scene.after(10, redis=EMPTY) == []
    assert [entry["event"] for entry in logs] == ["store has lost data", "repair waits"]
    assert logs[1]["reason"] == "other still runs"
    scene.jobs.end("other", "Failed")
    assert len(await scene.after(10, redis=EMPTY)) == 1


async def test_jobs_that_do_not_write_or_are_suspended_block_nothing(scene: Scene) -> None:
    scene.jobs.add("other", "archive")
    scene.jobs.add("asleep", "train", suspend=True)
    await scene.after(10, redis=EMPTY)
    assert len(await scene.after(10, redis=EMPTY)) == 1


async def test_repairs_that_fail_are_repeated_with_pauses_up_to_a_quarter_of_an_hour(scene: Scene) -> None:
    failed, started = sample("recmesh_repairs_total", outcome="failed"), []
    for _ in range(400):
        before = len(scene.jobs.manifests)
        if len(names := await scene.after(10, redis=EMPTY)) > before:
            started.append(scene.now)
            scene.jobs.end(names[-1], "Failed")
    pauses = [late - early for early, late in itertools.pairwise(started)]
    assert pauses == [60, 120, 240, 480, 900, 900, 900]
    assert sample("recmesh_repairs_total", outcome="failed") == failed + 8


async def test_pauses_are_short_again_after_a_quarter_of_an_hour_without_a_loss(scene: Scene) -> None:
    async def lose() -> int:
        await scene.after(10, redis=EMPTY)
        names = await scene.after(10, redis=EMPTY)
        scene.jobs.end(names[-1])
        return len(names)

    assert await lose() == 1
    await scene.after(10)
    assert await lose() == 1, "the pause of a minute"
    await scene.after(60)
    assert await lose() == 2
    await scene.after(90)
    assert await lose() == 2, "the pause of two minutes"
    await scene.after(10)
    await scene.after(900)
    assert await lose() == 3
    await scene.after(40)
    assert await lose() == 4


async def test_without_the_api_of_kubernetes_the_stores_are_still_watched(scene: Scene) -> None:
    scene.jobs.fault = Unavailable("Kubernetes does not answer: refused")
    with capture_logs() as logs:
        for _ in range(5):
            assert await scene.after(10, redis=EMPTY) == []
    assert [entry["event"] for entry in logs] == ["store has lost data", "jobs not listed"]
    assert logs[1]["reason"] == "Kubernetes does not answer: refused"
    assert sample("recmesh_store_missing", store="redis") == 1
    scene.jobs.fault = None
    assert len(await scene.after(10, redis=EMPTY)) == 1


async def test_a_job_that_the_api_refuses_is_tried_again_after_a_pause(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_kind: str) -> dict[str, Any]:
        raise SettingsError("shop has no job ingest")

    refused = sample("recmesh_repairs_total", outcome="refused")
    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr(scene.jobs, "manifest", refuse)
        for _ in range(9):
            assert await scene.after(10, redis=EMPTY) == []
    assert [entry["event"] for entry in logs] == ["store has lost data", "repair not started", "repair not started"]
    assert [entry["retry_seconds"] for entry in logs[1:]] == [60, 120]
    assert sample("recmesh_repairs_total", outcome="refused") == refused + 2
    assert len(await scene.after(120, redis=EMPTY)) == 1


async def test_a_repair_of_the_process_before_is_followed(scene: Scene) -> None:
    scene.jobs.add("shop-ingest-repair-x", "ingest", {REASON: EMPTY})
    complete = sample("recmesh_repairs_total", outcome="complete")
    await scene.after(10, redis=EMPTY)
    scene.jobs.end("shop-ingest-repair-x")
    assert await scene.after(10) == []
    assert sample("recmesh_repairs_total", outcome="complete") == complete + 1


async def test_a_store_that_does_not_answer_has_lost_nothing(scene: Scene) -> None:
    scene.found = Found(silent={"redis": "no answer"})
    with capture_logs() as logs:
        for _ in range(3):
            await scene.repairs.look()
        assert await scene.after(10) == []
    assert [(entry["event"], entry["store"]) for entry in logs] == [
        ("store does not answer", "redis"),
        ("store is in order", "redis"),
    ]


def test_annotations_of_the_installation_stay() -> None:
    metadata = {"name": "a-b-c", "annotations": {"team": "x"}}
    job = {"metadata": metadata, "spec": {"template": {"spec": {"containers": []}}}}
    assert repair(job, EMPTY)["metadata"] == {
        "generateName": "a-b-repair-",
        "annotations": {"team": "x", REASON: EMPTY},
    }
