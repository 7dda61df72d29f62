"""The controller on a real Redis, a real Milvus and a model store on disk, with the ingestion that it starts."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from structlog.testing import capture_logs

from jobs.controller.repairs import Repairs
from jobs.controller.stores import Found, Stores
from local.ports import free_ports
from recmesh.cli.jobs_api import COMPONENT, reason
from recmesh.releases import ModelStore
from recmesh.stores.milvus import MilvusReader
from recmesh.stores.milvus_writer import MilvusWriter
from recmesh.stores.redis import RedisReader
from tests.cluster_jobs import MemoryJobs
from tests.component.ingest.conftest import Commands, MakeRelease
from tests.processes import Service
from tests.servers import RedisServer, spawn, wait_until

JOB: dict[str, Any] = {
    "metadata": {"name": "shop-ingest-0a1b2c3d", "labels": {COMPONENT: "ingest"}},
    "spec": {"template": {"spec": {"containers": [{"args": ["jobs.ingest", "--mark=settings"]}]}}},
}
EMPTY, NO_POINTER = "Redis was empty", "no release was active"


@pytest.fixture
def jobs() -> MemoryJobs:
    return MemoryJobs({"ingest": JOB})


@pytest.fixture
async def stores(own_redis: RedisServer, milvus: MilvusWriter, store: ModelStore) -> AsyncIterator[Stores]:
    reader, searcher = RedisReader(own_redis.url), MilvusReader(milvus._uri)
    yield Stores(reader, searcher, store)
    await reader.close()
    await searcher.close()


@pytest.fixture
async def repairs(stores: Stores, jobs: MemoryJobs) -> Repairs:
    return Repairs(stores, jobs)


def installed(commands: Commands, make_release: MakeRelease, store: ModelStore, *releases: str) -> None:
    """Train and ingest releases, as the Jobs of an installation do."""
    for name in releases:
        make_release(name)
        store.set_mark("settings", name)
        ended = commands.ingest("--mark=settings")
        assert ended.code == 0, ended.error


def run(jobs: MemoryJobs, name: str, commands: Commands) -> str:
    """Run a Job as Kubernetes would. Returns its log."""
    (container,) = jobs.manifests[name]["spec"]["template"]["spec"]["containers"]
    ended = commands.ingest(*container["args"][1:])
    assert ended.code == 0, ended.error
    jobs.end(name)
    return ended.output


async def test_nothing_is_missing_before_the_first_ingestion(
    stores: Stores, commands: Commands, make_release: MakeRelease, store: ModelStore
) -> None:
    assert await stores.look() == Found()
    make_release("first")
    assert await stores.look() == Found()
    installed(commands, make_release, store, "second")
    assert await stores.look() == Found()


async def test_two_losses_at_once_are_repaired_by_one_job_that_respects_a_rollback(
    repairs: Repairs,
    stores: Stores,
    jobs: MemoryJobs,
    commands: Commands,
    make_release: MakeRelease,
    store: ModelStore,
    client: "redis.Redis",
    tmp_path: Path,
) -> None:
    installed(commands, make_release, store, "ingest-1", "ingest-2")
    assert commands.release("rollback").code == 0
    await repairs.look()
    values = client.dbsize()

    client.flushall()
    (tmp_path / "store" / "active").unlink()
    await repairs.look()
    assert not jobs.manifests
    await repairs.look()
    (name,) = jobs.manifests
    assert reason(jobs.all()[0]) == f"{EMPTY}; {NO_POINTER}"
    assert "Release ingest-1 is active again" in run(jobs, name, commands)

    assert await stores.look() == Found()
    assert store.active() == "ingest-1"
    assert client.dbsize() == values - 1, "all but the marks of the collection of ingest-2"
    with capture_logs() as logs:
        await repairs.look()
    assert [entry["event"] for entry in logs] == ["store is in order", "store is in order", "repair ended"]
    assert list(jobs.manifests) == [name]


async def test_a_collection_that_is_gone_is_filled_again(
    repairs: Repairs,
    jobs: MemoryJobs,
    commands: Commands,
    make_release: MakeRelease,
    store: ModelStore,
    client: "redis.Redis",
    milvus: MilvusWriter,
) -> None:
    installed(commands, make_release, store, "ingest-1")
    collection = store.manifest("ingest-1").collection
    milvus.drop(collection)
    for _ in range(3):  # the first look learns which release is active
        await repairs.look()
    (name,) = jobs.manifests
    assert reason(jobs.all()[0]) == f"Milvus had no {collection}"
    run(jobs, name, commands)
    assert milvus.count(collection) == 600


async def test_a_starter_has_no_collection_to_lose(
    stores: Stores, commands: Commands, store: ModelStore, client: "redis.Redis"
) -> None:
    commands.ingest("--starter", "--mark=settings")  # fails, since nothing was trained
    active = store.active()
    assert active is not None
    assert store.manifest(active).starter
    for _ in range(2):  # the first look learns which release is active
        assert await stores.look() == Found()


@pytest.mark.parametrize(
    ("fault", "why"),
    [("damaged pointer", "the active release was unreadable"), ("no manifest", "the active release was unreadable")],
)
async def test_a_pointer_to_nothing_is_missing(
    fault: str,
    why: str,
    stores: Stores,
    commands: Commands,
    make_release: MakeRelease,
    store: ModelStore,
    client: "redis.Redis",
    tmp_path: Path,
) -> None:
    installed(commands, make_release, store, "ingest-1")
    if fault == "damaged pointer":
        (tmp_path / "store" / "active").write_text("{")
    else:
        (tmp_path / "store" / "releases" / "ingest-1" / "manifest.json").unlink()
    assert await stores.look() == Found({"model_store": why})


async def test_stores_that_do_not_answer_are_silent(store: ModelStore) -> None:
    port = free_ports(1)[0]
    reader, searcher = RedisReader(f"redis://127.0.0.1:{port}"), MilvusReader(f"http://127.0.0.1:{port}")
    found = await Stores(reader, searcher, store).look()
    assert found.missing == {}
    assert list(found.silent) == ["redis"], "Milvus is not asked before there is a release"
    assert "Connect call failed" in found.silent["redis"]
    await reader.close()
    await searcher.close()


def test_the_process_watches_the_stores_although_kubernetes_does_not_answer(
    commands: Commands,
    make_release: MakeRelease,
    store: ModelStore,
    client: "redis.Redis",
    own_redis: RedisServer,
    milvus: MilvusWriter,
    tmp_path: Path,
) -> None:
    installed(commands, make_release, store, "ingest-1")
    metrics, kubernetes = free_ports(2)
    cluster = {"cluster": {"server": f"http://127.0.0.1:{kubernetes}"}, "name": "c"}
    context = {"context": {"cluster": "c", "user": "u", "namespace": "shops"}, "name": "c"}
    config = {
        "clusters": [cluster],
        "contexts": [context],
        "users": [{"name": "u", "user": {}}],
        "current-context": "c",
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", **config}))
    environment = {
        "KUBECONFIG": str(tmp_path / "kubeconfig"),
        "RECMESH_REDIS_URL": own_redis.url,
        "RECMESH_MILVUS_URI": milvus._uri,
        "RECMESH_MODEL_STORE": store.url,
        "RECMESH_METRICS_PORT": str(metrics),
        "RECMESH_CHECK_INTERVAL": "0.05",
    }
    log = tmp_path / "controller.log"
    process = spawn([sys.executable, "-m", "jobs.controller"], log, environment)
    controller = Service(process, log, {"metrics": metrics})

    def ready() -> bool:
        try:
            return controller.monitoring("/readyz") == "ok\n"
        except OSError:  # not yet
            return False

    def missing(name: str) -> float:
        return controller.metrics()[f'recmesh_store_missing{{store="{name}"}}']

    try:
        wait_until(ready, controller, "the controller")
        assert [missing(name) for name in ("redis", "milvus", "model_store")] == [0, 0, 0]
        client.flushall()
        (tmp_path / "store" / "active").unlink()
        wait_until(lambda: missing("redis") == missing("model_store") == 1, controller, "two losses")
        wait_until(lambda: '"jobs not listed"' in log.read_text(), controller, "the wait for Kubernetes")
        store.activate("ingest-1")
        wait_until(lambda: missing("model_store") == 0, controller, "the pointer")
    finally:
        controller.stop()
    assert process.returncode == 0, controller.log_tail()
    lines = log.read_text().splitlines()
    assert sum('"jobs not listed"' in line for line in lines) <= 2, "each fault once, not at every look"
    assert '"stopped"' in lines[-1]
