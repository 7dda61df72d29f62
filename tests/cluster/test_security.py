"""`make cluster-test`: what each port and store answers to callers who should get nothing, and an upgrade to TLS."""

import base64
import json
from collections.abc import Iterator
from functools import partial
from secrets import token_hex

import pytest

from tests.certificates import Authority, Issued
from tests.cluster import kube
from tests.cluster.conftest import HERE, USERS, client, note, start_client, traffic

SERVICES = {"um": 8910, "cm": 8920, "recall": 8950, "rank": 8960, "as": 8930, "feed": 8940}
GRPC = {f"{service} {port}" for service, port in SERVICES.items()}
METRICS = {f"{service} {port + 10000}" for service, port in SERVICES.items()}
HTTP = {"as 8931", "feed 8941"}
REDIS = {f"redis 6380 {user}" for user in ("nobody", "default", "um")}
MILVUS = {f"milvus 19530 {user}" for user in ("nobody", "root:Milvus", "recall:wrong")}
CLOSED = {"redis 6379", *(f"milvus {port}" for port in (9091, 19529, 53100))}
TOKEN = token_hex(16)
SHOP = {
    "tokensSecret": "tokens",
    "policy": {
        "callers": [{"name": "shop", "tokens": ["shop"], "rate": {"per_second": 0.01, "burst": 1}}],
        "allow": [{"callers": ["shop"], "methods": ["um/*", "cm/*", "recall/*", "rank/*", "feed/*", "metrics"]}],
    },
}
UNKNOWN = dict.fromkeys(GRPC | HTTP | REDIS | MILVUS | CLOSED, "closed")
STORES = {
    **dict.fromkeys(REDIS, "unauthenticated"),
    **dict.fromkeys(MILVUS, "UNAUTHENTICATED"),
    **dict.fromkeys(CLOSED, "closed"),
}
EXPECTED = {
    # Nobody without a label may connect.
    "outsider": {**UNKNOWN, **dict.fromkeys(METRICS, "closed")},
    "plain": {**UNKNOWN, **dict.fromkeys(METRICS, "closed")},
    "none": {**UNKNOWN, **dict.fromkeys(METRICS, "401")},
    "another-ca": {**UNKNOWN, **dict.fromkeys(METRICS, "closed")},
    "expired": {**UNKNOWN, **dict.fromkeys(METRICS, "closed")},
    # The certificate of another component, which may call `as` as everybody who is known.
    "component": {
        **dict.fromkeys(GRPC, "PERMISSION_DENIED"),
        **dict.fromkeys(METRICS, "403"),
        **STORES,
        "as 8930": "OK",
        "as 8931": "200",
        "feed 8941": "403",
    },
    "wrong token": {
        **dict.fromkeys(GRPC, "UNAUTHENTICATED"),
        **dict.fromkeys(METRICS | HTTP, "401"),
        **STORES,
    },
    "too many calls": {
        **dict.fromkeys(GRPC, "RESOURCE_EXHAUSTED"),
        **dict.fromkeys(HTTP, "429"),
        **dict.fromkeys(METRICS, "200"),  # scrapes are not counted
        **STORES,
    },
}


def secret(name: str) -> dict[str, bytes]:
    """The content of a Secret of the release."""
    found = kube.get("secret", f"recmesh-{name}")
    return {key: base64.b64decode(value) for key, value in found["data"].items()}


def callers() -> dict[str, Issued]:
    """Certificates that should not help their owners."""
    ca, component = secret("ca"), secret("archive-tls")
    authority = Authority.of(ca["ca.key"], ca["ca.crt"])
    return {
        "another-ca": Authority("another CA").issue(),
        "expired": authority.issue(days=-1),
        "component": Issued(component["tls.key"], component["tls.crt"]),
    }


@pytest.fixture(scope="module")
def stranger(mesh: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A pod that reaches every port that NetworkPolicies open to somebody, with the certificates of `callers`."""
    folder = tmp_path_factory.mktemp("callers")
    kube.kubectl("create", "secret", "generic", "tokens", f"--from-literal=tokens.yaml=shop: {TOKEN}")
    files = ["--from-literal=ca.crt=" + secret("ca")["ca.crt"].decode()]
    for name, issued in callers().items():
        for end, content in (("crt", issued.certificate), ("key", issued.key)):
            (folder / f"{name}.{end}").write_bytes(content)
            files.append(f"--from-file={name}.{end}={folder / f'{name}.{end}'}")
    kube.kubectl("create", "secret", "generic", "callers", *files)
    kube.upgrade(f"--set-json=security={json.dumps(SHOP)}")
    for service in kube.SERVICES:
        kube.rolled_out(service)
    for pod, label in (("stranger", "recmesh.io/operator"), ("outsider-of-all", "recmesh.io/nobody")):
        start_client(pod, label, "wait.py", identity="callers")
    # The stores let in pods of the component compact, of which this installation has none.
    kube.kubectl(
        "label", "pod", "stranger", "app.kubernetes.io/instance=recmesh", "app.kubernetes.io/component=compact"
    )
    yield "stranger"
    kube.kubectl("delete", "pod", "stranger", "outsider-of-all", "--wait")
    kube.upgrade()
    for service in kube.SERVICES:
        kube.rolled_out(service)
    kube.kubectl("delete", "secret", "tokens", "callers")


@pytest.mark.parametrize("caller", EXPECTED)
def test_a_caller_gets_nothing_that_is_not_meant_for_it(stranger: str, caller: str) -> None:
    pod, name, token, calls = {
        "outsider": ("outsider-of-all", "component", "", 1),
        "wrong token": (stranger, "component", token_hex(16), 1),
        "too many calls": (stranger, "component", TOKEN, 3),
    }.get(caller, (stranger, caller, "", 1))
    addresses = [kube.pods(store)[0]["status"]["podIP"] for store in ("redis", "milvus")]
    command = ("exec", pod, "--", "python", "/programs/stranger.py", name, token, str(calls), *addresses)
    answers = json.loads(kube.kubectl(*command))
    for port, answer in answers.items():
        note(f"{caller}: {port}: {answer}")
    assert answers == EXPECTED[caller]


def test_services_may_do_in_redis_only_what_they_need(mesh: None) -> None:
    code = """import os, redis, sys
url, name = os.environ["RECMESH_REDIS_URL"], os.environ["RECMESH_REDIS_USERNAME"]
password = open(os.environ["RECMESH_REDIS_PASSWORD_FILE"]).read()
files = {kind: f"/etc/recmesh/tls/{file}" for kind, file in (
    ("ssl_ca_certs", "ca.crt"), ("ssl_certfile", "tls.crt"), ("ssl_keyfile", "tls.key"))}
store = redis.Redis.from_url(url, username=name, password=password, **files)
for command in sys.argv[1:]:
    try:
        store.execute_command(*command.split())
        print("OK")
    except redis.exceptions.NoPermissionError:
        print("NOPERM")"""
    commands = ("EXISTS recmesh:item:1", "SET recmesh:item:1 x", "EXISTS other", "FLUSHALL", "CONFIG GET *", "KEYS *")
    for component in ("um", "cm"):
        printed = kube.kubectl("exec", f"deployment/recmesh-{component}", "--", "python", "-c", code, *commands)
        own = "OK" if component == "cm" else "NOPERM"  # items are of no use to um
        assert printed.split() == [own, *["NOPERM"] * 5], component


def test_the_secrets_job_changes_nothing_that_is_there(mesh: None) -> None:
    def versions() -> dict[str, str]:
        found = [item["metadata"] for item in kube.get("secrets", kube.of(kube.RELEASE))]
        return {metadata["name"]: metadata["resourceVersion"] for metadata in found}

    before = versions()
    assert {"recmesh-ca", "recmesh-um-tls", "recmesh-redis-auth", "recmesh-milvus-auth"} <= before.keys()
    assert "up to date" in kube.run_scheduled("secrets")
    assert versions() == before


def plain_is_accepted() -> bool:
    """Whether the pods of `as` take plain connections."""
    (container,) = kube.get("deployment", "recmesh-as")["spec"]["template"]["spec"]["containers"]
    return "RECMESH_TLS_ACCEPT_PLAIN" in {variable["name"] for variable in container["env"]}


def rolled_out() -> None:
    """Wait until every pod is that of the last upgrade, and answers are complete."""
    for service in kube.SERVICES:
        kube.rolled_out(service)
    for store in ("redis", "milvus"):
        kube.rolled_out(store, "statefulset")
    kube.wait_until(partial(kube.complete, "ingest"), "the job ingest")
    kube.wait_until(kube.all_ready, "all services ready")


def test_an_installation_without_tls_is_upgraded_under_load(mesh: None) -> None:
    kube.upgrade(f"--values={HERE / 'plain.yaml'}")
    rolled_out()
    with traffic("upgrade from plain to TLS", rate=10, identity="") as seen:
        kube.upgrade()
        assert plain_is_accepted()
        rolled_out()
    assert seen.answers.failed == []
    with traffic("upgrade that closes the plain ports", rate=10) as seen:
        kube.upgrade()
        assert not plain_is_accepted()
        rolled_out()
    assert seen.answers.failed == []
    start_client("plain", "recmesh.io/client", "wait.py", identity="")
    assert "item_infos" not in client("plain", "as", USERS[0], "--json", check=False)
    kube.kubectl("delete", "pod", "plain")
    start_client("encrypted", "recmesh.io/client", "wait.py")
    assert "item_infos" in client("encrypted", "as", USERS[0], "--json")
    kube.kubectl("delete", "pod", "encrypted")
