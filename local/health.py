"""Waiting until processes are ready: services by their gRPC health, Milvus by its health page, Redis by a read."""

import contextlib
import json
import time
import urllib.error
from collections.abc import Callable, Mapping

import grpc
import redis
from grpc_health.v1 import health_pb2, health_pb2_grpc

from local.ports import direct
from local.settings import LocalSettings
from local.supervisor import Supervisor
from recmesh.contract import DIRECT
from recmesh.errors import Unavailable
from recmesh.secure_channels import credentials_of
from recmesh.stores.acl import PROBE_KEY
from recmesh.tls import TlsFiles, TlsReader

_TIMEOUT_SECONDS = 2.0
_STORES_SECONDS = 180.0


def redis_answers(settings: LocalSettings) -> bool:
    """Whether Redis answers and has loaded its append-only file."""
    with contextlib.suppress(redis.RedisError, OSError):
        password = settings.redis_users.with_name("probe").read_text() if settings.tls else ""
        user = "probe" if settings.tls else ""
        options = {"username": user, "password": password, "socket_timeout": _TIMEOUT_SECONDS, "protocol": 2}
        with redis.Redis.from_url(settings.redis_url, **options) as client:
            return bool(client.exists(PROBE_KEY) == 0)
    return False


def milvus_answers(settings: LocalSettings) -> bool:
    """Whether all components of Milvus report that they are healthy."""
    with contextlib.suppress(OSError, ValueError, KeyError, urllib.error.URLError):
        ports = json.loads((settings.folder / "milvus" / "ports.json").read_text())
        url = f"http://127.0.0.1:{ports['metrics_port']}/healthz"
        with direct.open(url, timeout=_TIMEOUT_SECONDS) as answer:
            return bool(answer.read() == b"OK")
    return False


def serving(target: str, tls: TlsFiles | None = None) -> bool:
    """Whether the health status of a service is SERVING.

    Args:
        target: Its address.
        tls: The certificate to show; None for a plain connection.
    """
    with _channel(target, tls) as channel, contextlib.suppress(grpc.RpcError):
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=_TIMEOUT_SECONDS)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
    return False


def _channel(target: str, tls: TlsFiles | None) -> grpc.Channel:
    if tls is None:
        return grpc.insecure_channel(target, options=[DIRECT])
    return grpc.secure_channel(target, credentials_of(TlsReader(tls).current()), options=[DIRECT])


def wait(
    supervisor: Supervisor,
    checks: Mapping[str, tuple[str, Callable[[], bool]]],
    seconds: float,
    say: Callable[[str], None],
) -> None:
    """Poll until every check succeeds, and report each success.

    Args:
        supervisor: Watches the programs.
        checks: For each prerequisite, the program that provides it and the check.
        seconds: Time limit.
        say: Prints a line.

    Raises:
        Unavailable: A program keeps dying, or the time is over.
    """
    limit = time.monotonic() + seconds
    missing = dict(checks)
    while missing:
        for what, (program, check) in list(missing.items()):
            if check():
                del missing[what]
                say(f"{what}: ready")
            else:
                supervisor.check_alive(program)
        if missing and time.monotonic() > limit:
            program = next(iter(missing.values()))[0]
            raise Unavailable(
                f"not ready after {seconds:.0f} s: {', '.join(missing)}; see `make logs SERVICE={program}`"
            )
        if missing:
            time.sleep(0.1)


def wait_for_stores(supervisor: Supervisor, settings: LocalSettings, say: Callable[[str], None]) -> None:
    """Wait until Redis and Milvus answer: see `wait`."""
    checks = {"Redis": ("redis", lambda: redis_answers(settings))}
    if not settings.milvus_lite:
        checks["Milvus"] = ("milvus", lambda: milvus_answers(settings))
    wait(supervisor, checks, _STORES_SECONDS, say)
