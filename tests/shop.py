"""A small shop, trained and ingested: what mesh and contract tests run on."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
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
    """Where a trained and ingested shop is."""

    folder: Path
    redis: RedisServer
    milvus: MilvusServer
    user_ids: tuple[str, ...]
    sku_ids: tuple[str, ...]

    @property
    def store(self) -> ModelStore:
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


def open_shop(folder: Path, redis: RedisServer, milvus: MilvusServer) -> Shop:
    """Generate a data set in the seed's form, train on it, ingest it."""
    data = synthetic(folder / "data", USERS, ITEMS, form="v0")
    shop = Shop(folder, redis, milvus, _ids(data / "users.dat"), _ids(data / "products.dat"))
    train = [str(TRAINING_PYTHON), "-m", "jobs.train", "--dataset", str(data), "--work", str(folder / "work")]
    run(train, shop.environment)
    shop.ingest()
    return shop


@contextlib.contextmanager
def running_apart(shop: Shop) -> Iterator[dict[str, Service]]:
    """The five services as processes that find each other, by name."""
    ports = dict(zip(NAMES, free_ports(len(NAMES)), strict=True))
    with contextlib.ExitStack() as stack:
        services = {name: stack.enter_context(running(name, shop.environment, ports, ready=False)) for name in NAMES}
        for name, service in services.items():
            wait_until(partial(service.serving, name), service, name)
        yield services


def run(command: list[str], environment: dict[str, str]) -> None:
    """Run a command of the repository to its successful end."""
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def _ids(path: Path) -> tuple[str, ...]:
    return tuple(line.partition(":")[0] for line in path.read_text().splitlines())
