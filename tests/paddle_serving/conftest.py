"""The real Paddle Serving with the trained shop, and services that use it."""

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
from recmesh.pb.pipeline_service_pb2 import Request, Response
from recmesh.releases import ReferenceRequest
from services.rank.paddle_serving import wire
from tests.calls import Method
from tests.processes import Service, running
from tests.servers import spawn, wait_until
from tests.shop import Shop

NAME = "paddle-serving"
INFERENCE = Method(wire.INFERENCE, Request, Response)
LONG_TIMEOUT = {"RECMESH_PADDLE_SERVING_TIMEOUT": "10"}
"""For tests that are not about slow answers: other tests use the same two cores."""


@dataclass
class Gateway(Service):
    """The process of the gateway, and those of its pipelines."""

    @property
    def address(self) -> str:
        return self.target(NAME)

    def pipelines(self) -> list[psutil.Process]:
        return [process for process in psutil.Process(self.pid).children(recursive=True) if process.is_running()]

    def pipeline_address(self) -> str:
        """The address of the first pipeline, behind the gateway."""
        plan = self.pipelines()[0].cmdline()[-2]
        return str(json.loads(Path(plan).read_text())["address"])


@contextlib.contextmanager
def gateway(environment: Mapping[str, str], ports: Mapping[str, int] | None = None) -> Iterator[Gateway]:
    """A gateway that serves for the duration of a block, on the given ports or on free ones."""
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
    """Paddle Serving with one pipeline. Tests that kill parts of it must wait until it serves again."""
    with gateway(trained_shop.environment) as server:
        yield server


@pytest.fixture(scope="session")
def reference(trained_shop: Shop) -> ReferenceRequest:
    """The reference request of the active release."""
    return ReferenceRequest.load(
        trained_shop.store.fetch(str(trained_shop.store.active()), trained_shop.folder / "reference")
    )


def with_paddle_serving(shop: Shop, server: Gateway) -> dict[str, str]:
    """The settings of services whose ranker runs in Paddle Serving."""
    return {
        **shop.environment,
        "RECMESH_RANK_BACKEND": "paddle-serving",
        "RECMESH_PADDLE_SERVING_TARGET": server.address,
    }


@pytest.fixture(scope="session")
def remote_compact(paddle_serving: Gateway, trained_shop: Shop) -> Iterator[Service]:
    """All five services in one process, the ranker in Paddle Serving."""
    with running("compact", with_paddle_serving(trained_shop, paddle_serving)) as service:
        yield service
