"""A small trained and ingested shop for mesh and contract tests."""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from local.ports import free_ports
from recmesh.dataset.synthetic import synthetic
from recmesh.releases import ModelStore
from tests.processes import NAMES, Service, running
from tests.servers import ROOT, MilvusServer, RedisServer, wait_until

TRAINING_PYTHON = ROOT / ".venv-train" / "bin" / "python"
USERS, ITEMS = 300, 300


@dataclass(frozen=True)
class Shop:
    """A trained and ingested shop.

    Attributes:
        folder: Its data set and model store.
        redis: Its Redis.
        milvus: Its Milvus.
        user_ids: All users.
        sku_ids: All items.
    """

    folder: Path
    redis: RedisServer
    milvus: MilvusServer
    user_ids: tuple[str, ...]
    sku_ids: tuple[str, ...]

    @property
    def store(self) -> ModelStore:
        """Its model store."""
        return ModelStore(str(self.folder / "store"))

    @property
    def environment(self) -> dict[str, str]:
        """The settings of services that serve the shop."""
        return {
            "RECMESH_REDIS_URL": self.redis.url,
            "RECMESH_MILVUS_URI": self.milvus.uri,
            "RECMESH_MODEL_STORE": str(self.folder / "store"),
            "RECMESH_HOME": str(self.folder / "home"),
            "RECMESH_RELEASE_POLL": "0.2",
            "RECMESH_DRAIN_DELAY": "0",
        }

    def ingest(self, *options: str) -> None:
        """Run the ingestion with these options."""
        command = [sys.executable, "-m", "jobs.ingest", "--dataset", str(self.folder / "data"), *options]
        run(command, self.environment)


def trained_once(temporary: Path) -> Path:
    """Generate a data set in the v0 form and train on it, once for all workers of a test run.

    Args:
        temporary: A folder that the workers share.

    Returns:
        The folder of `data`, the model store `store`, and `output`, which the training printed. Change copies only.
    """
    folder, unfinished = temporary / "trained", temporary / "being-trained"
    with (temporary / "trained.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            shutil.rmtree(unfinished, ignore_errors=True)
            data = synthetic(unfinished / "data", USERS, ITEMS, form="v0")
            places = ["--store", str(unfinished / "store"), "--work", str(unfinished / "work")]
            output = run([str(TRAINING_PYTHON), "-m", "jobs.train", "--dataset", str(data), *places], {})
            (unfinished / "output").write_text(output)
            unfinished.rename(folder)
    return folder


def open_shop(trained: Path, folder: Path, redis: RedisServer, milvus: MilvusServer) -> Shop:
    """Ingest a copy of a trained shop."""
    shutil.copytree(trained, folder, dirs_exist_ok=True)
    data = folder / "data"
    shop = Shop(folder, redis, milvus, ids_in(data / "users.dat"), ids_in(data / "products.dat"))
    shop.ingest()
    return shop


@contextlib.contextmanager
def running_apart(shop: Shop, settings: Mapping[str, str] | None = None) -> Iterator[dict[str, Service]]:
    """Run the five services as connected processes, with more settings, during the block. Yields them by name."""
    ports = dict(zip(NAMES, free_ports(len(NAMES)), strict=True))
    environment = {**shop.environment, **(settings or {})}
    with contextlib.ExitStack() as stack:
        services = {name: stack.enter_context(running(name, environment, ports, ready=False)) for name in NAMES}
        for name, service in services.items():
            wait_until(partial(service.serving, name), service, name)
        yield services


def run(command: list[str], environment: dict[str, str]) -> str:
    """Run a command of the repository, which must succeed. Returns what it printed."""
    ended = run_any(command, environment)
    assert ended.returncode == 0, f"{' '.join(command)}\n{ended.stdout[-2000:]}\n{ended.stderr[-4000:]}"
    return ended.stdout


def run_any(command: list[str], environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """Run a command of the repository, which may fail."""
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def ids_in(path: Path) -> tuple[str, ...]:
    """The ids in a file of a data set in the v0 form."""
    return tuple(line.partition(":")[0] for line in path.read_text().splitlines())
