"""Callers of real servers: who gets an answer over gRPC and HTTP, and what changes with the files."""

import hmac
import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from local.ports import free_ports
from recmesh import client
from recmesh.client import InvalidRequest, Overloaded, PermissionDenied, Targets, Unauthenticated, sync
from recmesh.contract import DIRECT
from recmesh.errors import RecmeshError
from recmesh.pb.feed_pb2 import Action, RecordActionsRequest
from recmesh.serving.channels import open_channel
from recmesh.serving.stages import RemoteUserStage
from recmesh.tls import TlsFiles
from tests.by_http import JSON
from tests.calls import PUT_ITEMS, RECORD_ACTIONS
from tests.certificates import Authority, Files
from tests.component.services.test_feed import DAY
from tests.component.services.test_http import fill
from tests.processes import Service, health_of, running
from tests.servers import ROOT, RedisServer, wait_until
from tests.web_keys import AUDIENCE, ISSUER, Key, jwks

CA = Authority()
SPIFFE = "spiffe://cluster.local/ns/shop/release/r/"
SHOP, SLOW, SPARE = "shop-0123456789abcdef", "slow-0123456789abcdef", "spare-0123456789abcdef"
WRONG = "wrong"
KEY = Key("ES256", "k1")
POLICY = f"""\
callers:
  - {{name: as, certificates: {SPIFFE}as}}
  - {{name: prometheus, certificates: "dns:prometheus"}}
  - {{name: shop, tokens: shop}}
  - {{name: slow, tokens: slow, rate: {{per_second: 0.001, burst: 2}}}}
  - {{name: partner, jwt: {{sub: partner}}}}
allow:
  - {{callers: [as, shop, slow, partner], methods: "um/*"}}
  - {{callers: [shop, slow], methods: feed/record_actions}}
  - {{callers: prometheus, methods: [metrics, reflection]}}
"""


@dataclass
class Setup:
    """The files of a server, and of those who call it."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        server = CA.issue(("localhost",)).write(self.folder / "server", CA.certificate)
        self.write("policy", POLICY)
        self.write("tokens", f"shop: {SHOP}\nslow: {SLOW}")
        self.write("jwks", jwks(KEY.public()).decode())
        self.write("key", "0123456789abcdef")
        files = {name: str(self.folder / name) for name in ("policy", "tokens", "jwks")}
        self.environment = {
            **server.settings(),
            **{f"RECMESH_{name.upper()}_FILE": path for name, path in files.items()},
            "RECMESH_JWT_ISSUER": ISSUER,
            "RECMESH_JWT_AUDIENCE": AUDIENCE,
            "RECMESH_AUDIT": "true",
            "RECMESH_AUDIT_KEY_FILE": str(self.folder / "key"),
        }

    def write(self, name: str, content: str) -> None:
        new = self.folder / f".{name}"
        new.write_text(content)
        new.replace(self.folder / name)

    def certificate(self, name: str) -> TlsFiles:
        """The certificate of a component."""
        files: Files = CA.issue((name,), SPIFFE + name).write(self.folder / name, CA.certificate)
        tls = TlsFiles.from_environment(files.settings())
        assert tls
        return tls

    @property
    def ca(self) -> TlsFiles:
        """TLS without a certificate."""
        return TlsFiles(ca=self.folder / "server" / "ca.crt")


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    return Setup(tmp_path_factory.mktemp("callers"))


@pytest.fixture(scope="module")
def um(shop: RedisServer, setup: Setup) -> Iterator[Service]:
    """um with mutual TLS."""
    with running("um", {"RECMESH_REDIS_URL": shop.url, **setup.environment}) as service:
        service.tls = setup.certificate("prometheus")
        yield service


@pytest.fixture(scope="module")
def feed(shop: RedisServer, setup: Setup) -> Iterator[Service]:
    """feed with TLS that asks for no certificates, over gRPC and HTTP."""
    fill(shop)
    http_port = free_ports(1)[0]
    settings = {"RECMESH_REDIS_URL": shop.url, "RECMESH_FEED_HTTP_PORT": str(http_port), **setup.environment}
    with running("feed", {**settings, "RECMESH_TLS_CLIENT_AUTH": "none"}) as service:
        service.ports["http"] = http_port
        service.tls = setup.certificate("prometheus")
        yield service


def mesh_of(service: Service, name: str, tls: TlsFiles, **options: Any) -> sync.Mesh:
    return sync.Mesh(
        Targets.from_environment({f"RECMESH_{name.upper()}_TARGET": service.target(name)}), tls=tls, **options
    )


def refused(service: Service, reason: str, name: str = "um") -> float:
    return service.metrics().get(f'recmesh_refused_requests_total{{reason="{reason}",service="{name}"}}', 0.0)


@pytest.mark.parametrize(("component", "token"), [("as", None), ("cm", SHOP), ("cm", KEY.token({"exp": 4e9}))])
def test_callers_of_the_policy_get_answers(um: Service, setup: Setup, component: str, token: str | None) -> None:
    with mesh_of(um, "um", setup.certificate(component), token=token) as mesh:
        assert mesh.um("5").user_id == "5"


@pytest.mark.parametrize(
    ("component", "token", "error", "reason", "message"),
    [
        (
            "cm",
            None,
            PermissionDenied,
            "denied",
            f"PERMISSION_DENIED: {SPIFFE}cm may not call um/um_call: a rule of the policy must allow it; "
            "ask who runs the service to allow it (docs/callers.md)",
        ),
        (
            "as",
            SHOP + "x",
            Unauthenticated,
            "unauthenticated",
            "UNAUTHENTICATED: the bearer token is not known: it is wrong, or was withdrawn; "
            "set RECMESH_TOKEN or RECMESH_TOKEN_FILE, or RECMESH_TLS_CERTIFICATE and RECMESH_TLS_KEY",
        ),
        ("as", KEY.token({"exp": 1}), Unauthenticated, "unauthenticated", "JWT not accepted: Signature has expired"),
        (
            "as",
            Key("ES256", "k1").token({"exp": 4e9}),
            Unauthenticated,
            "unauthenticated",
            "JWT not accepted: Signature verification failed",
        ),
    ],
)
def test_others_are_refused_and_counted(
    um: Service, setup: Setup, component: str, token: str | None, error: type[RecmeshError], reason: str, message: str
) -> None:
    before = refused(um, reason)
    with mesh_of(um, "um", setup.certificate(component), token=token) as mesh, pytest.raises(error) as raised:
        mesh.um("5")
    assert message in str(raised.value)
    assert refused(um, reason) - before == 1


def test_a_caller_that_calls_too_often_is_refused(um: Service, setup: Setup) -> None:
    before = refused(um, "rate")
    with mesh_of(um, "um", setup.certificate("cm"), token=SLOW) as mesh:
        assert [mesh.um("5").user_id for _ in range(2)] == ["5", "5"]
        with pytest.raises(Overloaded, match=r"slow calls more than 0\.001 times a second: call less often"):
            mesh.um("5")
    assert refused(um, "rate") - before == 1
    assert um.metrics()['recmesh_caller_requests_total{name="slow",service="um"}'] == 2


def test_health_is_open_and_reflection_and_metrics_are_for_those_who_may(um: Service, setup: Setup) -> None:
    stranger, prometheus = setup.certificate("cm"), setup.certificate("prometheus")
    assert health_of(um.target("um"), tls=stranger) == 1
    for tls, services in ((stranger, None), (prometheus, "um.UMService")):
        pem = [path.read_bytes() for path in (tls.ca, tls.key, tls.certificate) if path]
        with grpc.secure_channel(um.target("um"), grpc.ssl_channel_credentials(*pem), [DIRECT]) as channel:
            stub = reflection_pb2_grpc.ServerReflectionStub(channel)
            asked = stub.ServerReflectionInfo(
                iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=10
            )
            if services is None:
                with pytest.raises(grpc.RpcError, match="may not call reflection"):
                    list(asked)
            else:
                (answer,) = asked
                assert services in [service.name for service in answer.list_services_response.service]
    assert um.metric("recmesh_serving") == 1
    context = ssl.create_default_context(cafile=str(stranger.ca))
    context.load_cert_chain(str(stranger.certificate), str(stranger.key))
    with httpx.Client(verify=context) as http:
        assert http.get(f"https://127.0.0.1:{um.ports['metrics']}/metrics").status_code == 403


def test_audit_lines_name_the_caller_and_hide_the_user(um: Service, setup: Setup) -> None:
    with mesh_of(um, "um", setup.certificate("as")) as mesh:
        mesh.um("5")
    lines = [json.loads(line) for line in um.log.read_text().splitlines()]
    audited = [line for line in lines if line["event"] == "audit" and line["caller"] == "as"]
    line = audited[-1]
    hashed = hmac.new(b"0123456789abcdef", b"5", "sha256").hexdigest()[:32]
    assert (line["users"], line["service"], line["method"]) == ([hashed], "um", "/um.UMService/um_call")
    assert line["status"] == "OK"
    assert not any(SHOP in json.dumps(line) for line in lines)


def test_with_tokens_only_a_stranger_gets_nothing_whatever_it_sends(feed: Service, setup: Setup) -> None:
    before = refused(feed, "unauthenticated", "feed")
    with (
        pytest.raises(Unauthenticated, match="callers must show a bearer token"),
        mesh_of(feed, "feed", setup.ca) as mesh,
    ):
        mesh.delete_user("5")
    # The server refuses before it has read the request, which is no message at all.
    with (
        grpc.secure_channel(feed.target("feed"), grpc.ssl_channel_credentials(CA.certificate), [DIRECT]) as channel,
        pytest.raises(grpc.RpcError) as raised,
    ):
        method: Any = channel.unary_unary(PUT_ITEMS.path)
        method(b"\xff" * (3 << 20), timeout=10)
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert refused(feed, "unauthenticated", "feed") - before == 2
    with mesh_of(feed, "feed", setup.ca, token=SHOP) as mesh:
        with pytest.raises(PermissionDenied, match="shop may not call feed/delete_user"):
            mesh.delete_user("5")
        with pytest.raises(InvalidRequest):
            mesh.call(client.RECORD_ACTIONS, RecordActionsRequest(actions=[Action()] * 1001))


def test_over_http_callers_are_told_in_the_same_way(feed: Service, setup: Setup) -> None:
    action = {"actions": [{"userId": "http", "skuId": "i1", "time": str(DAY), "type": "view"}]}
    url = f"https://127.0.0.1:{feed.ports['http']}"
    with httpx.Client(verify=ssl.create_default_context(cafile=str(setup.ca.ca)), base_url=url) as http:

        def post(path: str, token: str = "") -> tuple[int, str, str | None]:
            headers = {**JSON, **({"authorization": f"Bearer {token}"} if token else {})}
            answer = http.post(path, json=action, headers=headers)
            return answer.status_code, answer.json().get("code", ""), answer.headers.get("www-authenticate")

        assert http.get("/healthz").status_code == 200
        assert post(RECORD_ACTIONS.path) == (401, "unauthenticated", "Bearer")
        assert post(RECORD_ACTIONS.path, WRONG) == (401, "unauthenticated", "Bearer")
        assert post(PUT_ITEMS.path, SHOP) == (403, "permission_denied", None)
        assert post(RECORD_ACTIONS.path, SHOP) == (200, "", None)
        assert [post(RECORD_ACTIONS.path, SLOW)[:2] for _ in range(3)] == [
            (200, ""),
            (200, ""),
            (429, "resource_exhausted"),
        ]


async def test_services_send_their_token_to_each_other(
    shop: RedisServer, setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"RECMESH_REDIS_URL": shop.url, **setup.environment, "RECMESH_TLS_CLIENT_AUTH": "none"}
    with running("um", settings) as service:
        monkeypatch.setenv("RECMESH_TOKEN", SHOP)
        async with open_channel(service.target("um"), setup.ca) as channel:
            found = await RemoteUserStage(channel).find("5", 10.0)
        monkeypatch.delenv("RECMESH_TOKEN")
        async with open_channel(service.target("um"), setup.ca) as channel:
            with pytest.raises(Unauthenticated, match="um: UNAUTHENTICATED callers must show a bearer token"):
                await RemoteUserStage(channel).find("5", 10.0)
    assert found is not None
    assert found.profile.user_id == "5"


def test_while_plain_callers_are_accepted_they_may_do_everything(shop: RedisServer, setup: Setup) -> None:
    settings = {"RECMESH_REDIS_URL": shop.url, **setup.environment, "RECMESH_TLS_ACCEPT_PLAIN": "true"}
    with running("um", settings) as service:
        targets = Targets.from_environment({"RECMESH_UM_TARGET": service.target("um")})
        with sync.Mesh(targets) as mesh:
            assert mesh.um("5").user_id == "5"
        with mesh_of(service, "um", setup.certificate("as")) as mesh:
            assert mesh.um("5").user_id == "5"
        with mesh_of(service, "um", setup.certificate("cm")) as mesh, pytest.raises(PermissionDenied):
            mesh.um("5")
        service.tls = setup.certificate("prometheus")
        admitted = service.metrics()
        assert admitted['recmesh_caller_requests_total{name="plain",service="um"}'] == 1
        assert admitted['recmesh_caller_requests_total{name="as",service="um"}'] == 1


def test_tokens_and_policy_are_renewed_under_load_without_a_failed_call(shop: RedisServer, tmp_path: Path) -> None:
    setup = Setup(tmp_path)
    token = tmp_path / "token"
    setup.write("token", SHOP)
    failed, answered, stop = list[str](), list[str](), threading.Event()
    with running("um", {"RECMESH_REDIS_URL": shop.url, **setup.environment}) as service:
        service.tls = setup.certificate("prometheus")
        sender = mesh_of(service, "um", setup.certificate("cm"), token=token.read_text)

        def call() -> None:
            while not stop.is_set():
                try:
                    sender.um("5")
                except RecmeshError as error:
                    failed.append(str(error))
                answered.append("")

        def replace(name: str, content: str) -> None:
            """Replace a file, and wait until the server has read it."""
            count = service.log.read_text().count('"file read"')
            setup.write(name, content)
            wait_until(lambda: service.log.read_text().count('"file read"') > count, service, "um", 30)

        def more(calls: int = 200) -> None:
            limit = len(answered) + calls
            wait_until(lambda: len(answered) >= limit, service, "um", 60)

        caller = threading.Thread(target=call)
        caller.start()
        try:
            more()
            replace("tokens", f"shop: [{SHOP}, {SPARE}]")
            setup.write("token", SPARE)
            more()
            replace("policy", POLICY.replace("[as, shop, slow, partner]", "[shop]"))
            more()
            replace("tokens", f"shop: {SPARE}")
            more()
        finally:
            stop.set()
            caller.join()
            sender.close()
        assert failed == []
        with mesh_of(service, "um", setup.certificate("cm"), token=SHOP) as mesh, pytest.raises(Unauthenticated):
            mesh.um("5")
        with mesh_of(service, "um", setup.certificate("as")) as mesh, pytest.raises(PermissionDenied):
            mesh.um("5")


def command(service: Service, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "client.py", *arguments],
        cwd=ROOT,
        env={**os.environ, "RECMESH_UM_TARGET": service.target("um"), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_command_line_says_in_one_line_what_to_do(um: Service, setup: Setup) -> None:
    tls = setup.certificate("cm")
    files = {f"RECMESH_TLS_{name}": str(path) for name, path in (("CERTIFICATE", tls.certificate), ("KEY", tls.key))}
    files |= {"RECMESH_TLS_CA": str(tls.ca)}
    good = command(um, "um", "5", **files, RECMESH_TOKEN=SHOP)
    assert (good.returncode, good.stderr) == (0, "")
    denied = command(um, "um", "5", **files)
    assert (denied.returncode, denied.stdout) == (9, "")
    (line,) = denied.stderr.splitlines()
    assert line.endswith("ask who runs the service to allow it (docs/callers.md)")
    wrong = command(um, "um", "5", **files, RECMESH_TOKEN=WRONG)
    (line,) = wrong.stderr.splitlines()
    assert wrong.returncode == 9
    assert line.endswith("set RECMESH_TOKEN or RECMESH_TOKEN_FILE, or RECMESH_TLS_CERTIFICATE and RECMESH_TLS_KEY")
    plain = command(um, "um", "5", RECMESH_TOKEN=SHOP, RECMESH_UM_TARGET="um.example:8910")
    (line,) = plain.stderr.splitlines()
    assert (plain.returncode, plain.stdout) == (2, "")
    assert "um.example:8910: the token would be sent in plain text: set RECMESH_TLS_CA" in line


def test_a_service_does_not_start_with_a_bad_policy(shop: RedisServer, tmp_path: Path) -> None:
    setup = Setup(tmp_path)
    setup.write("policy", "allow: [{callers: nobody, methods: um/*}]")
    with running("um", {"RECMESH_REDIS_URL": shop.url, **setup.environment}, ready=False) as service:
        assert service.process.wait(30) == 3
        (line,) = [line for line in service.log.read_text().splitlines() if not line.startswith("{")]
    assert line == f'um: {tmp_path}/policy line 1, column 19: callers: no caller is called "nobody"'
