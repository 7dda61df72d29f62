"""The real Paddle Serving over the trained shop, and the services that rank by it."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest

from local.ports import free_ports
from local.programs import PADDLE_SERVING_PYTHON
from recmesh.releases import ReferenceRequest
from tests.processes import Service, running
from tests.servers import spawn, wait_until
from tests.shop import Shop

NAME = "paddle-serving"
PATIENT = {"RECMESH_PADDLE_SERVING_TIMEOUT": "10"}
"""Two cores are shared with other tests: where a slow answer is not the subject, it is no reason to fall back."""


@dataclass
class Gateway(Service):
    """The gateway's process and its pipelines'."""

    @property
    def address(self) -> str:
        return self.target(NAME)

    def pipelines(self) -> list[psutil.Process]:
        return [one for one in psutil.Process(self.pid).children(recursive=True) if one.is_running()]

    def pipeline_address(self) -> str:
        """Where the first pipeline itself listens, behind the gateway."""
        plan = self.pipelines()[0].cmdline()[-2]
        return str(json.loads(Path(plan).read_text())["address"])


@contextlib.contextmanager
def gateway(environment: Mapping[str, str], ports: Mapping[str, int] | None = None) -> Iterator[Gateway]:
    """A gateway for the length of a block, on given ports or free ones; ready when it says so."""
    chosen = dict(ports or zip((NAME, "metrics"), free_ports(2), strict=True))
    variables = {
        "RECMESH_PADDLE_SERVING_PORT": str(chosen[NAME]),
        "RECMESH_METRICS_PORT": str(chosen["metrics"]),
        **environment,
    }
    with TemporaryDirectory(prefix="recmesh-gateway-") as folder:
        log = Path(folder) / "log"
        command = [str(PADDLE_SERVING_PYTHON), "-m", "services.rank.paddle_serving"]
        server = Gateway(spawn(command, log, variables), log, chosen)
        try:
            wait_until(lambda: server.serving(NAME), server, "Paddle Serving")
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def paddle_serving(trained_shop: Shop) -> Iterator[Gateway]:
    """Paddle Serving with one pipeline; tests that kill parts of it wait until it serves again."""
    with gateway(trained_shop.environment) as server:
        yield server


@pytest.fixture(scope="session")
def reference(trained_shop: Shop) -> ReferenceRequest:
    """Of the active release."""
    return ReferenceRequest.load(
        trained_shop.store.fetch(str(trained_shop.store.active()), trained_shop.folder / "reference")
    )


def by_paddle_serving(shop: Shop, server: Gateway) -> dict[str, str]:
    """The settings of services whose ranker runs there."""
    return {
        **shop.environment,
        "RECMESH_RANK_BACKEND": "paddle-serving",
        "RECMESH_PADDLE_SERVING_TARGET": server.address,
    }


@pytest.fixture(scope="session")
def remote_compact(paddle_serving: Gateway, trained_shop: Shop) -> Iterator[Service]:
    """All five services in one process, the ranker in Paddle Serving."""
    with running("compact", by_paddle_serving(trained_shop, paddle_serving)) as service:
        yield service
