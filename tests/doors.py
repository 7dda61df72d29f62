"""What strangers get at every port: `python -m tests.doors` measures it and writes the table of docs/security.md.

The processes are real, on loopback, with everything on. They have no release: whoever is let in gets UNAVAILABLE from
recall, rank and `as`, which is not what strangers get.
"""

import contextlib
import ssl
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import httpx
import redis

from local.ports import free_ports
from local.programs import PADDLE_SERVING_PYTHON
from recmesh.contract import DIRECT, METHOD_PATHS
from recmesh.stores.acl import User, users_file
from recmesh.stores.milvus import authorization
from recmesh.stores.milvus_users import ensure_users
from recmesh.tls import TlsFiles
from services.rank.paddle_serving import wire
from tests.certificates import Authority, Issued
from tests.processes import NAMES, Service, running
from tests.servers import ROOT, MilvusServer, SecuredRedis, spawn, start_milvus, start_secured_redis, wait_until

PAGE = ROOT / "docs" / "security.md"
BEGIN, END = "<!-- doors: begin -->", "<!-- doors: end -->"
NOTHING, ANSWER = "no connection", "an answer"

TOKEN = "a-token-that-the-chain-may-use"  # noqa: S105 - of these processes
_POLICY = """
callers:
  - {name: chain, certificates: "spiffe://test/chain"}
  - {name: hasty, certificates: "spiffe://test/hasty", rate: {per_second: 0.01, burst: 1}}
allow:
  - {callers: [chain, hasty], methods: "*"}
"""
_CA, _OTHER = Authority("doors"), Authority("somebody else")
_MILVUS_PASSWORDS = {"root": "the root of Milvus", "recall": "the password of recall"}
_PASSWORDS: dict[User, str] = {"um": "the password of um", "probe": "the password of the probe"}

Door: TypeAlias = Callable[["Caller"], str]
"""A port: lets a caller knock, and says what they get."""


@dataclass(frozen=True)
class Caller:
    """Somebody at a door.

    Attributes:
        name: What is wrong with them, as the table says it.
        certificate: None for none.
        plain: Whether they speak plain text.
        token: A bearer token, or a password of a store.
        calls: How often they call.
    """

    name: str
    certificate: Issued | None = None
    plain: bool = False
    token: str = ""
    calls: int = 1


def callers() -> list[Caller]:
    """Everybody who is turned away, and somebody who is not."""
    chain, stranger = "spiffe://test/chain", "spiffe://test/stranger"
    return [
        Caller("plain text", plain=True),
        Caller("no certificate"),
        Caller("certificate of another CA", _OTHER.issue(uri=chain)),
        Caller("expired certificate", _CA.issue(uri=chain, days=-1)),
        Caller("wrong token or password", _CA.issue(uri=chain), token="wrong" * 8),
        Caller("known, not allowed", _CA.issue(uri=stranger)),
        Caller("too many requests", _CA.issue(uri="spiffe://test/hasty"), calls=2),
        Caller("allowed", _CA.issue(uri=chain)),
    ]


def grpc_door(target: str, method: str, login: tuple[tuple[str, str], ...] = ()) -> Door:
    """A gRPC method, called with an empty request, and with metadata instead of a bearer token if there are any."""

    def knock(caller: Caller) -> str:
        options = [DIRECT, ("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
        if caller.plain:
            channel = grpc.insecure_channel(target, options)
        else:
            pair = (caller.certificate.key, caller.certificate.certificate) if caller.certificate else (None, None)
            channel = grpc.secure_channel(target, grpc.ssl_channel_credentials(_CA.certificate, *pair), options)
        metadata = login or ((("authorization", f"Bearer {caller.token}"),) if caller.token else ())
        with channel:
            call: Any = channel.unary_unary(method)
            for _ in range(caller.calls - 1):
                with contextlib.suppress(grpc.RpcError):
                    call(b"", timeout=10, metadata=metadata)
            try:
                call(b"", timeout=10, metadata=metadata)
            except grpc.RpcError as error:
                details = error.details() or ""
                refused = "failed to connect" in details or "Socket closed" in details
                return NOTHING if refused else _let_in(error.code().name)
        return ANSWER

    return knock


def _let_in(status: str) -> str:
    # Without a release, and for empty requests.
    return ANSWER if status in ("UNAVAILABLE", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED") else status


def http_door(port: int, path: str, *, post: bool) -> Door:
    """An HTTP port."""

    def knock(caller: Caller) -> str:
        headers = {"authorization": f"Bearer {caller.token}"} if caller.token else {}
        scheme = "http" if caller.plain else "https"
        with tempfile.TemporaryDirectory() as folder, httpx.Client(verify=_context(caller, Path(folder))) as client:
            try:
                for _ in range(caller.calls):
                    url = f"{scheme}://127.0.0.1:{port}{path}"
                    answer = client.post(url, json={}, headers=headers) if post else client.get(url, headers=headers)
            except httpx.TransportError:
                return NOTHING
        return ANSWER if answer.status_code in (200, 400, 503) else f"HTTP {answer.status_code}"

    return knock


def _context(caller: Caller, folder: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=_CA.certificate.decode())
    if caller.certificate:
        caller.certificate.write(folder, _CA.certificate)
        context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    return context


def redis_door(server: SecuredRedis) -> Door:
    """Redis: a stranger would read a profile, and um would write one."""

    def knock(caller: Caller) -> str:
        with tempfile.TemporaryDirectory() as folder:
            files: dict[str, Any] = {"ssl_check_hostname": False}
            if not caller.plain:
                files |= {"ssl": True, "ssl_ca_data": _CA.certificate.decode()}
            if caller.certificate:
                caller.certificate.write(Path(folder), _CA.certificate)
                files |= {"ssl_certfile": f"{folder}/tls.crt", "ssl_keyfile": f"{folder}/tls.key"}
            if caller.plain:
                files = {}
            password = caller.token or _PASSWORDS["um"]
            client = redis.Redis(port=server.port, username="um", password=password, **files)
            with client:
                try:
                    if caller.name == "known, not allowed":
                        client.set("recmesh:{u:5}:user", "x")
                    client.mget("recmesh:{u:5}:user")
                except redis.AuthenticationError:
                    return "WRONGPASS"
                except redis.exceptions.NoPermissionError:
                    return "NOPERM"
                except (redis.RedisError, OSError):
                    return NOTHING
        return ANSWER

    return knock


def milvus_door(server: MilvusServer) -> Door:
    """Milvus: recall would search, and drop a collection."""

    def knock(caller: Caller) -> str:
        token = authorization(f"recall:{caller.token or _MILVUS_PASSWORDS['recall']}")
        method = "DropCollection" if caller.name == "known, not allowed" else "HasCollection"
        door = grpc_door(f"127.0.0.1:{server.port}", f"/milvus.proto.milvus.MilvusService/{method}", token)
        return door(caller)

    return knock


@contextlib.contextmanager
def doors() -> Iterator[dict[str, Door]]:
    """Every port of a running mesh, by the name that the table has for it."""
    with tempfile.TemporaryDirectory(prefix="recmesh-doors-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        server = _CA.issue(uri="spiffe://test/chain").write(folder / "tls", _CA.certificate)
        (folder / "policy.yaml").write_text(_POLICY)
        (folder / "tokens.yaml").write_text(f"chain: {TOKEN}\n")
        store = start_secured_redis(
            folder / "redis", users_file({user: [password] for user, password in _PASSWORDS.items()}), folder / "tls"
        )
        stack.callback(store.stop)
        (folder / "password").write_text(_PASSWORDS["um"])
        milvus = start_milvus(folder / "milvus", certificates=folder / "tls")
        stack.callback(milvus.kill)
        for user, password in _MILVUS_PASSWORDS.items():
            (folder / user).write_text(password)
        tls = TlsFiles.from_environment(server.settings())
        ensure_users(milvus.uri, folder / "root", tls)
        settings = {
            **server.settings(),
            "RECMESH_POLICY_FILE": str(folder / "policy.yaml"),
            "RECMESH_TOKENS_FILE": str(folder / "tokens.yaml"),
            "RECMESH_REDIS_URL": store.url,
            "RECMESH_REDIS_USERNAME": "um",
            "RECMESH_REDIS_PASSWORD_FILE": str(folder / "password"),
            "RECMESH_MODEL_STORE": str(folder / "store"),
            "RECMESH_HOME": str(folder / "home"),
        }
        as_http, feed_http = free_ports(2)
        compact = stack.enter_context(
            running("compact", {**settings, "RECMESH_AS_HTTP_PORT": str(as_http)}, ready=False)
        )
        feed = stack.enter_context(running("feed", {**settings, "RECMESH_FEED_HTTP_PORT": str(feed_http)}, ready=False))
        gateway = stack.enter_context(_gateway(folder, settings))
        for service, program in ((compact, "compact"), (feed, "feed"), (gateway, "Paddle Serving")):
            wait_until(partial(_listens, service), service, program)
        yield {
            **{service: grpc_door(compact.target(service), METHOD_PATHS[service]) for service in NAMES},
            "feed": grpc_door(feed.target("feed"), "/feed.FeedService/record_actions"),
            "Paddle Serving": grpc_door(gateway.target("paddle-serving"), wire.INFERENCE),
            "`as` over HTTP": http_door(as_http, METHOD_PATHS["as"], post=True),
            "feed over HTTP": http_door(feed_http, "/feed.FeedService/record_actions", post=True),
            "metrics": http_door(compact.ports["metrics"], "/metrics", post=False),
            "probes (`/livez`, `/readyz`)": http_door(compact.ports["metrics"], "/livez", post=False),
            "Redis": redis_door(store),
            "Milvus": milvus_door(milvus),
        }


def _listens(service: Service) -> bool:
    return '"event": "listening"' in service.log.read_text()


@contextlib.contextmanager
def _gateway(folder: Path, settings: Mapping[str, str]) -> Iterator[Service]:
    ports = dict(zip(("paddle-serving", "metrics"), free_ports(2), strict=True))
    variables = {
        **settings,
        "RECMESH_PADDLE_SERVING_PORT": str(ports["paddle-serving"]),
        "RECMESH_METRICS_PORT": str(ports["metrics"]),
    }
    log = folder / "gateway.log"
    command = [str(PADDLE_SERVING_PYTHON), "-m", "services.rank.paddle_serving"]
    service = Service(spawn(command, log, variables), log, ports)
    try:
        yield service
    finally:
        service.stop()


def measure(names: Sequence[str] = ()) -> dict[str, dict[str, str]]:
    """What each caller gets at each door, or at some of them."""
    people = callers()
    with doors() as opened:
        return {
            door: {caller.name: knock(caller) for caller in people}
            for door, knock in opened.items()
            if not names or door in names
        }


def table(found: Mapping[str, Mapping[str, str]]) -> str:
    """The table in Markdown."""
    columns = [caller.name for caller in callers()]
    lines = [f"| port | {' | '.join(columns)} |", f"|{'---|' * (len(columns) + 1)}"]
    lines += [f"| {door} | {' | '.join(row[column] for column in columns)} |" for door, row in found.items()]
    return "\n".join(lines)


def documented() -> str:
    """The table that the page has."""
    text = PAGE.read_text()
    return text[text.index(BEGIN) + len(BEGIN) : text.index(END)].strip()


if __name__ == "__main__":
    text = PAGE.read_text()
    start, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    measured = table(measure())
    PAGE.write_text(f"{text[:start]}\n\n{measured}\n\n{text[end:]}")
    print(measured)
