"""`make cluster-test`: data set and releases in s3, Redis with TLS and a password, sharded ingestion, retraining."""

import json
from functools import partial
from pathlib import Path

import pytest

from recmesh.dataset import synthetic
from recmesh.stores.log import stream_of
from tests.cluster import kube
from tests.cluster.conftest import HERE, USERS, build_store, client, start_client
from tests.passwords import ALL_ASCII

S3 = "docker.io/motoserver/moto:5.2.5"
BUCKET = "shop"
OBJECTS = f"import boto3, sys; s3 = boto3.resource('s3', endpoint_url='http://127.0.0.1:5000').Bucket('{BUCKET}')"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "shop", "AWS_SECRET_ACCESS_KEY": "its-password"}
REDIS = {"password": ALL_ASCII}
PING = """import os, redis, sys
password = {"right": os.environ["RECMESH_REDIS_PASSWORD"], "wrong": "guess", "none": None}[sys.argv[2]]
try:
    print(redis.Redis.from_url(sys.argv[1], password=password, socket_timeout=5).ping())
except redis.RedisError as error:
    print(type(error).__name__)"""


def in_s3(code: str, *arguments: str, stdin: str | None = None) -> str:
    """Run Python code in the pod of the s3 server, where `s3` is the bucket."""
    login = [f"{name}={value}" for name, value in CREDENTIALS.items()]
    command = ("env", *login, "AWS_DEFAULT_REGION=us-east-1", "python", "-c", f"{OBJECTS}; {code}", *arguments)
    return kube.kubectl("exec", "--stdin", "s3", "--", *command, stdin=stdin)


def start_s3(data: Path) -> None:
    """Start an s3 server with a data set, and create the Secret with its credentials."""
    build_store("s3", S3)
    kube.apply(HERE / "s3.yaml", image=S3)
    kube.kubectl("wait", "--for=condition=Ready", "pod/s3", f"--timeout={kube.TIMEOUT_SECONDS:.0f}s")
    in_s3("s3.create()")
    synthetic(data, 1000, 400)
    for file in sorted(data.iterdir()):
        in_s3(
            "s3.put_object(Key=sys.argv[1], Body=sys.stdin.buffer.read())", f"data/{file.name}", stdin=file.read_text()
        )
    secret("s3", **CREDENTIALS, AWS_ENDPOINT_URL="http://s3:5000", AWS_REGION="us-east-1")


def certify(folder: Path) -> None:
    """Create a Secret with a key and a self-signed certificate for Redis."""
    key, certificate = folder / "tls.key", folder / "tls.crt"
    request = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=recmesh-redis")
    names = ("-addext", "subjectAltName=DNS:recmesh-redis")
    kube.run("openssl", *request, *names, "-keyout", str(key), "-out", str(certificate))
    secret(
        "redis-tls",
        **{"tls.key": key.read_text(), "tls.crt": certificate.read_text(), "ca.crt": certificate.read_text()},
    )


def secret(name: str, **values: str) -> None:
    """Create a Secret."""
    kube.kubectl(
        "create", "secret", "generic", name, *(f"--from-literal={key}={value}" for key, value in values.items())
    )


@pytest.fixture(scope="module")
def other_stores(mesh: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The mesh, upgraded to other stores. Returns the name of a pod that may call every service."""
    start_s3(tmp_path_factory.mktemp("shop"))
    certify(tmp_path_factory.mktemp("tls"))
    secret("redis-password", **REDIS)
    kube.upgrade(f"--values={HERE / 'stores.yaml'}")
    for kind in ("train", "ingest"):
        kube.wait_until(partial(kube.complete, kind), f"the job {kind}")
    kube.rolled_out("redis", "statefulset")
    for service in kube.SERVICES:
        kube.rolled_out(service)
    start_client("stores-operator", "recmesh.io/operator", "wait.py")
    return "stores-operator"


def test_answers_are_complete_and_from_the_release_in_s3(other_stores: str) -> None:
    answer = json.loads(client(other_stores, "as", USERS[0], "--json"))
    assert answer["item_infos"]
    assert not answer.get("degraded")
    assert answer["release"] in in_s3("print([file.key for file in s3.objects.filter(Prefix='releases/')])")


def test_redis_requires_tls_and_the_password(other_stores: str) -> None:
    tls = "rediss://recmesh-redis:6379/0?ssl_ca_certs=/etc/recmesh/redis-ca/ca.crt"
    assert ping(tls) == "True"
    assert ping(tls, "none") == "AuthenticationError"
    assert ping(tls, "wrong") == "AuthenticationError"
    assert ping("rediss://recmesh-redis:6379/0") == "ConnectionError"  # the certificate is not trusted without its CA
    assert ping("redis://recmesh-redis:6379/0") == "ConnectionError"


def ping(url: str, given: str = "right") -> str:
    """The answer of Redis to a pod of um, or the name of the error. The password is right, wrong or none."""
    return kube.kubectl("exec", "deployment/recmesh-um", "--", "python", "-c", PING, url, given).strip()


def test_every_shard_wrote_its_share(other_stores: str) -> None:
    job = kube.job("ingest")
    assert (job["spec"]["completions"], job["status"]["succeeded"]) == (2, 2)


def test_retraining_runs_as_a_job_and_finds_the_data_unchanged(other_stores: str) -> None:
    assert "current: the model store already holds" in kube.run_scheduled("retrain")


def test_the_archive_goes_to_s3(other_stores: str) -> None:
    client(other_stores, "record", "archived-user", "12048")
    assert "archive s3://shop/releases/archive: " in kube.run_scheduled("archive")
    archived = in_s3("print([file.key for file in s3.objects.filter(Prefix='releases/archive/')])")
    assert f"releases/archive/{stream_of('archived-user')}-" in archived
