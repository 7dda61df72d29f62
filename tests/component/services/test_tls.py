"""Services over TLS: who gets an answer at which port, and what changes when files are renewed."""

import asyncio
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from local.ports import free_ports
from recmesh.client import Mesh, Targets, sync
from recmesh.contract import DIRECT
from recmesh.errors import RecmeshError, Unavailable
from recmesh.pb.um_pb2 import UserModelRequest
from recmesh.tls import TlsFiles
from tests.calls import UM
from tests.certificates import Authority, Files
from tests.component.services.test_http import fill
from tests.processes import Service, running
from tests.servers import RedisServer

CA = Authority()
STRANGER = Authority("another CA")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return CA.issue().write(tmp_path_factory.mktemp("tls"), CA.certificate)


@pytest.fixture(scope="module")
def um(shop: RedisServer, files: Files) -> Iterator[Service]:
    with running("um", {"RECMESH_REDIS_URL": shop.url, **files.settings()}) as service:
        yield service


@pytest.fixture(scope="module")
def feed(shop: RedisServer, files: Files) -> Iterator[Service]:
    fill(shop)
    http_port = free_ports(1)[0]
    settings = {"RECMESH_REDIS_URL": shop.url, "RECMESH_FEED_HTTP_PORT": str(http_port), **files.settings()}
    with running("feed", settings) as service:
        service.ports["http"] = http_port
        yield service


def tls_of(files: Files) -> TlsFiles:
    tls = TlsFiles.from_environment(files.settings())
    assert tls
    return tls


def callers(folder: Path) -> dict[str, grpc.ChannelCredentials | None]:
    """Callers that get nothing, by what is wrong with them."""
    wrong, old = STRANGER.issue(), CA.issue(days=-1)
    return {
        "plain text": None,
        "no certificate": grpc.ssl_channel_credentials(CA.certificate),
        "certificate of another CA": grpc.ssl_channel_credentials(CA.certificate, wrong.key, wrong.certificate),
        "expired certificate": grpc.ssl_channel_credentials(CA.certificate, old.key, old.certificate),
    }


@pytest.mark.parametrize("caller", ["plain text", "no certificate", "certificate of another CA", "expired certificate"])
def test_a_caller_without_a_valid_certificate_gets_nothing(um: Service, tmp_path: Path, caller: str) -> None:
    credentials = callers(tmp_path)[caller]
    options = [DIRECT, ("grpc.enable_retries", 0)]
    target = um.target("um")
    channel = (
        grpc.secure_channel(target, credentials, options) if credentials else grpc.insecure_channel(target, options)
    )
    with channel, pytest.raises(grpc.RpcError) as raised:
        UM.on(channel)(UserModelRequest(user_id="5"), timeout=5)
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "5" in um_answer(um, tls=um.tls)  # and those who have one get an answer


def um_answer(um: Service, tls: TlsFiles | None) -> str:
    assert tls
    environment = {"RECMESH_UM_TARGET": um.target("um")}
    with sync.Mesh(Targets.from_environment(environment), tls=tls) as mesh:
        user = mesh.um("5")
    assert user
    return user.user_id


async def test_the_client_reads_the_variables(um: Service, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**files.settings(), "RECMESH_UM_TARGET": um.target("um")}.items():
        monkeypatch.setenv(name, value)
    async with Mesh() as mesh:
        user = await mesh.um("5")
    assert user is not None
    assert user.user_id == "5"


def test_probes_need_no_certificate_and_metrics_do(um: Service, files: Files) -> None:
    anybody = ssl.create_default_context(cadata=CA.certificate.decode())
    port = um.ports["metrics"]

    def get(path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"https://127.0.0.1:{port}{path}", timeout=5, context=anybody) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    assert get("/livez") == (200, "ok\n")
    assert get("/readyz") == (200, "ok\n")
    refused = 401, "callers must show a client certificate or a bearer token (docs/callers.md)\n"
    assert get("/metrics") == refused
    assert get("/") == refused
    assert um.metric("recmesh_serving") == 1.0
    with pytest.raises(OSError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=5)


def test_the_http_port_requires_a_certificate(feed: Service, files: Files) -> None:
    url = f"https://127.0.0.1:{feed.ports['http']}/healthz"
    with httpx.Client(verify=context(files)) as client:
        assert client.get(url).json() == {"status": "SERVING"}
    anybody = ssl.create_default_context(cadata=CA.certificate.decode())
    with httpx.Client(verify=anybody) as client, pytest.raises(httpx.TransportError):
        client.get(url)
    with httpx.Client() as client, pytest.raises(httpx.TransportError):
        client.get(url.replace("https", "http"))


def context(files: Files) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(files.folder / "ca.crt"))
    made.load_cert_chain(files.folder / "tls.crt", files.folder / "tls.key")
    return made


async def test_a_new_ca_and_new_certificates_fail_no_call(shop: RedisServer, tmp_path: Path) -> None:
    """The steps: both trust both CAs, then both get certificates of the new one, then the old one goes."""
    old, new = Authority("old"), Authority("new")
    both = new.certificate + old.certificate
    server = old.issue().write(tmp_path / "server", old.certificate)
    client = old.issue().write(tmp_path / "client", old.certificate)
    settings = {"RECMESH_REDIS_URL": shop.url, "RECMESH_CONNECTION_AGE": "0.5", **server.settings()}
    with running("um", settings) as um:
        targets = Targets.from_environment({"RECMESH_UM_TARGET": um.target("um")})
        async with Mesh(targets, tls=tls_of(client)) as mesh:
            answers = 0

            async def call_until(done: "asyncio.Task[Any]") -> None:
                nonlocal answers
                while not done.done():
                    user = await mesh.um("5")
                    assert user is not None
                    answers += 1

            async def rotate() -> None:
                steps = [(old, both), (new, both), (new, new.certificate)]
                for authority, trusted in steps:
                    for files in (server, client):
                        authority.issue().write(files.folder, trusted)
                    # Files are looked at once a second: both sides see each step before the next.
                    await asyncio.sleep(2.5)

            rotation = asyncio.create_task(rotate())
            await asyncio.gather(rotation, *(call_until(rotation) for _ in range(4)))
            assert answers > 100
        with pytest.raises(Unavailable):
            async with Mesh(targets, tls=tls_of(old.issue().write(tmp_path / "old", new.certificate))) as late:
                await late.um("5", timeout=2)


def test_plain_connections_can_be_taken_for_a_while(shop: RedisServer, files: Files) -> None:
    fill(shop)
    http_port = free_ports(1)[0]
    settings = {
        "RECMESH_REDIS_URL": shop.url,
        "RECMESH_FEED_HTTP_PORT": str(http_port),
        "RECMESH_TLS_ACCEPT_PLAIN": "true",
        **files.settings(),
    }
    with running("feed", settings) as feed:
        for scheme, verify in (("http", True), ("https", context(files))):
            with httpx.Client(verify=verify) as client:
                answer = client.get(f"{scheme}://127.0.0.1:{http_port}/healthz")
                assert answer.json() == {"status": "SERVING"}
        targets = Targets.from_environment({"RECMESH_FEED_TARGET": feed.target("feed")})
        for tls in (None, tls_of(files)):
            with sync.Mesh(targets, tls=tls) as mesh:
                assert mesh.remove_items(["none"]).accepted == 1
            plain = Service(feed.process, feed.log, feed.ports, tls)
            assert plain.metric("recmesh_serving") == 1.0


@pytest.mark.parametrize("name", ["RECMESH_TLS_CERTIFICATE", "RECMESH_TLS_KEY", "RECMESH_TLS_CA"])
def test_a_missing_file_ends_the_start(shop: RedisServer, files: Files, tmp_path: Path, name: str) -> None:
    settings = {"RECMESH_REDIS_URL": shop.url, **files.settings(), name: "/nowhere/file"}
    with running("um", settings, ready=False) as um:
        assert um.process.wait(20) == 2
        assert um.log.read_text().splitlines()[-1].startswith(f"um: {name} /nowhere/file cannot be read: No such file")


def test_plain_needs_certificates(shop: RedisServer) -> None:
    with running("um", {"RECMESH_REDIS_URL": shop.url, "RECMESH_TLS_ACCEPT_PLAIN": "1"}, ready=False) as um:
        assert um.process.wait(20) == 2
        assert "RECMESH_TLS_ACCEPT_PLAIN needs RECMESH_TLS_CERTIFICATE, _KEY and _CA: set them" in um.log.read_text()


def test_a_client_that_does_not_trust_the_server_says_so(um: Service, tmp_path: Path) -> None:
    wrong = STRANGER.issue().write(tmp_path, STRANGER.certificate)
    targets = Targets.from_environment({"RECMESH_UM_TARGET": um.target("um")})
    with sync.Mesh(targets, tls=tls_of(wrong)) as mesh, pytest.raises(RecmeshError, match="CERTIFICATE_VERIFY_FAILED"):
        mesh.um("5", timeout=1)
