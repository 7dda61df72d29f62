"""Service processes for tests, started as in production, on free ports, and ready by their health status."""

import contextlib
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from local.ports import free_ports
from recmesh.secure_channels import credentials_of
from recmesh.tls import TlsFiles, TlsReader, client_context
from tests.servers import Server, spawn, wait_until

NAMES = ("um", "cm", "recall", "rank", "as")


@dataclass
class Service(Server):
    """A process with one service, or with all five (compact).

    Attributes:
        tls: How to reach it over TLS; None if it is plain.
    """

    tls: TlsFiles | None = None

    def target(self, name: str) -> str:
        """The target of a service, `host:port`."""
        return f"127.0.0.1:{self.ports[name]}"

    def metrics(self) -> dict[str, float]:
        """Scrape the metrics port. Returns values by series."""
        lines = self.monitoring("/metrics").splitlines()
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}

    def monitoring(self, path: str) -> str:
        """Get a page of the metrics port. Raises HTTPError if it is refused."""
        place = f"127.0.0.1:{self.ports['metrics']}{path}"
        scheme, context = ("https", client_context(self.tls)) if self.tls else ("http", None)
        with urllib.request.urlopen(f"{scheme}://{place}", timeout=5, context=context) as answer:
            page: bytes = answer.read()
        return page.decode()

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        return sum(value for series, value in self.metrics().items() if series.partition("{")[0] == name)

    def serving(self, name: str) -> bool:
        """Whether a service is SERVING."""
        return bool(health_of(self.target(name), tls=self.tls) == health_pb2.HealthCheckResponse.SERVING)


def health_of(target: str, timeout: float = 1.0, name: str = "", tls: TlsFiles | None = None) -> int | None:
    """The health status of a name at a target; None if nothing answers."""
    channel = (
        grpc.secure_channel(target, credentials_of(TlsReader(tls).current())) if tls else grpc.insecure_channel(target)
    )
    with channel, contextlib.suppress(grpc.RpcError):
        stub = health_pb2_grpc.HealthStub(channel)
        return int(stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=timeout).status)
    return None


def port_variables(ports: Mapping[str, int]) -> dict[str, str]:
    """Settings with the ports and targets of a mesh."""
    variables = {f"RECMESH_{name.upper()}_PORT": str(port) for name, port in ports.items()}
    return variables | {f"RECMESH_{name.upper()}_TARGET": f"127.0.0.1:{ports[name]}" for name in NAMES if name in ports}


def start_service(
    name: str,
    folder: Path,
    environment: Mapping[str, str],
    ports: Mapping[str, int] | None = None,
    *,
    ready: bool = True,
) -> Service:
    """Start `python -m services.<name>` on the given ports or on free ports. If `ready`, wait until it is SERVING."""
    names = (*NAMES, "feed")
    mesh = dict(ports or zip(names, free_ports(len(names)), strict=True))
    mesh["metrics"] = free_ports(1, exclude=list(mesh.values()))[0]
    log = folder / f"{name}.log"
    command = [sys.executable, "-m", f"services.{name}"]
    process = spawn(command, log, {**port_variables(mesh), **environment})
    service = Service(process, log, mesh, TlsFiles.from_environment(environment))
    if ready:
        waited = NAMES if name == "compact" else (name,)
        try:
            wait_until(lambda: all(service.serving(served) for served in waited), service, name)
        except BaseException:
            service.kill()
            raise
    return service


@contextlib.contextmanager
def running(
    name: str, environment: Mapping[str, str], ports: Mapping[str, int] | None = None, *, ready: bool = True
) -> Iterator[Service]:
    """Run a service during the block."""
    with TemporaryDirectory(prefix=f"recmesh-{name}-") as folder:
        service = start_service(name, Path(folder), environment, ports, ready=ready)
        try:
            yield service
        finally:
            service.stop()
