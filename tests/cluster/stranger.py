"""Runs in a pod: prints what each port answers to a caller, as JSON: {port: answer}.

python stranger.py CALLER TOKEN CALLS REDIS MILVUS

CALLER is `plain` (no TLS), `none` (no certificate), or the name of /tls/CALLER.crt and /tls/CALLER.key. TOKEN is the
bearer token, or empty. A service gets CALLS calls, and the last answer counts. REDIS and MILVUS are addresses of pods.
"""

import base64
import http.client
import json
import socket
import ssl
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import redis
from pymilvus.grpc_gen import milvus_pb2, milvus_pb2_grpc

from recmesh.contract import METHOD_PATHS, PORTS

FILES = Path("/tls")
CA = FILES / "ca.crt"
TIMEOUT = 5.0
HTTP = {"as": 8931, "feed": 8941}
PATHS = {**METHOD_PATHS, "feed": METHOD_PATHS["remove_items"]}
# Ports of Milvus: the monitoring port, and those at which its parts call each other.
INNER = (9091, 19529, 53100)


@dataclass
class Caller:
    """A caller: see above."""

    name: str
    token: str
    calls: int

    @property
    def plain(self) -> bool:
        """Whether it speaks no TLS."""
        return self.name == "plain"

    @property
    def files(self) -> tuple[Path, Path] | None:
        """Its certificate and key."""
        files = FILES / f"{self.name}.crt", FILES / f"{self.name}.key"
        return files if files[0].exists() else None

    @property
    def bearer(self) -> dict[str, str]:
        """The metadata, or headers, with its token."""
        return {"authorization": f"Bearer {self.token}"} if self.token else {}

    def channel(self, target: str) -> grpc.Channel:
        """A channel without retries."""
        options = [("grpc.enable_retries", 0)]
        if self.plain:
            return grpc.insecure_channel(target, options)
        certificate, key = (file.read_bytes() for file in self.files) if self.files else (None, None)
        return grpc.secure_channel(target, grpc.ssl_channel_credentials(CA.read_bytes(), key, certificate), options)

    def connection(self, host: str, port: int) -> http.client.HTTPConnection:
        """An HTTP connection."""
        if self.plain:
            return http.client.HTTPConnection(host, port, timeout=TIMEOUT)
        context = ssl.create_default_context(cafile=str(CA))
        if self.files:
            context.load_cert_chain(*self.files)
        return http.client.HTTPSConnection(host, port, timeout=TIMEOUT, context=context)


def connected(channel: grpc.Channel) -> bool:
    """Whether a server has accepted the connection."""
    try:
        grpc.channel_ready_future(channel).result(TIMEOUT)
    except grpc.FutureTimeoutError:
        return False
    return True


def grpc_answer(caller: Caller, host: str, port: int, path: str) -> str:
    """The status code of a service; `closed` if it takes no connection."""
    answer = "closed"
    with caller.channel(f"{host}:{port}") as channel:
        call: Any = channel.unary_unary(path)
        for _ in range(caller.calls if connected(channel) else 0):
            try:
                call(b"", timeout=TIMEOUT, metadata=tuple(caller.bearer.items()))
                answer = "OK"
            except grpc.RpcError as error:
                answer = error.code().name
    return answer


def http_answer(caller: Caller, host: str, port: int, path: str, body: str | None = None) -> str:
    """The status of an HTTP port; `closed` if there is no answer."""
    answer = "closed"
    for _ in range(caller.calls):
        connection = caller.connection(host, port)
        try:
            headers = {**caller.bearer, "Content-Type": "application/json"}
            connection.request("GET" if body is None else "POST", path, body, headers)
            answer = str(connection.getresponse().status)
        except (OSError, http.client.HTTPException):
            answer = "closed"
        finally:
            connection.close()
    return answer


def redis_answer(caller: Caller, user: str | None, password: str | None) -> str:
    """What Redis answers to a read; `closed` if it does not."""
    options: dict[str, Any] = {} if caller.plain else {"ssl": True, "ssl_ca_certs": str(CA)}
    if caller.files:
        options |= dict(zip(("ssl_certfile", "ssl_keyfile"), map(str, caller.files), strict=True))
    with redis.Redis(
        "recmesh-redis", 6380, username=user, password=password, socket_timeout=TIMEOUT, **options
    ) as store:
        try:
            store.get("recmesh:item:12048")
        except redis.AuthenticationError:
            return "unauthenticated"
        except (redis.RedisError, OSError):
            return "closed"
    return "OK"


def milvus_answer(caller: Caller, token: str) -> str:
    """What Milvus answers to a question for its collections; `closed` if it takes no connection."""
    metadata = (("authorization", base64.b64encode(token.encode()).decode()),) if token else ()
    with caller.channel("recmesh-milvus:19530") as channel:
        if not connected(channel):
            return "closed"
        try:
            stub = milvus_pb2_grpc.MilvusServiceStub(channel)
            answer = stub.ShowCollections(milvus_pb2.ShowCollectionsRequest(), timeout=TIMEOUT, metadata=metadata)
        except grpc.RpcError as error:
            return str(error.code().name)
    return "OK" if answer.status.code == 0 else "refused"


def connection(host: str, port: int) -> str:
    """Whether a port takes connections."""
    try:
        with socket.create_connection((host, port), TIMEOUT):
            return "open"
    except OSError:
        return "closed"


def questions(caller: Caller, redis_pod: str, milvus_pod: str) -> dict[str, Callable[[], str]]:
    """What to ask of each port."""
    asked: dict[str, Callable[[], str]] = {}
    for service, port in PORTS.items():
        host = f"recmesh-{service}"
        asked[f"{service} {port}"] = partial(grpc_answer, caller, host, port, PATHS[service])
        if service in HTTP:
            asked[f"{service} {HTTP[service]}"] = partial(
                http_answer, caller, host, HTTP[service], PATHS[service], "{}"
            )
        asked[f"{service} {port + 10000}"] = partial(http_answer, caller, host, port + 10000, "/metrics")
    for user, password in ((None, None), ("default", "x"), ("um", "wrong")):
        asked[f"redis 6380 {user or 'nobody'}"] = partial(redis_answer, caller, user, password)
    for token in ("", "root:Milvus", "recall:wrong"):
        asked[f"milvus 19530 {token or 'nobody'}"] = partial(milvus_answer, caller, token)
    asked["redis 6379"] = partial(connection, redis_pod, 6379)
    for port in INNER:
        asked[f"milvus {port}"] = partial(connection, milvus_pod, port)
    return asked


if __name__ == "__main__":
    name, token, calls, redis_pod, milvus_pod = sys.argv[1:]
    asked = questions(Caller(name, token, int(calls)), redis_pod, milvus_pod)
    with ThreadPoolExecutor(8) as pool:
        print(json.dumps(dict(zip(asked, pool.map(lambda ask: ask(), asked.values()), strict=True))))
