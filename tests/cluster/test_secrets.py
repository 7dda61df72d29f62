"""The secrets Job against the API server of the current context. It needs no pods and no images."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from recmesh.issuing.authority import Authority
from recmesh.issuing.certificates import bundle_of, pair_of, signed_by
from tests.cluster import kube
from tests.servers import ROOT

NAMESPACE = f"{kube.NAMESPACE}-secrets-{os.getpid()}"  # the last run's may not be gone
SPIFFE = f"spiffe://cluster.local/ns/{NAMESPACE}/release/r"
SPEC = {
    "release": "r",
    "namespace": NAMESPACE,
    "settle_seconds": 1,
    "certificates": {
        "um": {"dns": ["r-um", f"r-um.{NAMESPACE}.svc"], "uri": f"{SPIFFE}/um"},
        "client": {"dns": [], "uri": f"{SPIFFE}/client"},
    },
    "redis": {"users": ["um", "operator"]},
    "milvus": {"users": ["root", "recall", "ingest"]},
}
NAMES = ("r-ca", "r-client-tls", "r-milvus-auth", "r-redis-auth", "r-um-tls")
ROLE = """
apiVersion: v1
kind: ServiceAccount
metadata: {name: job}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: job}
rules:
  - {apiGroups: [""], resources: [secrets], verbs: %s}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: job}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: job}
subjects: [{kind: ServiceAccount, name: job}]
"""


def kubectl(*arguments: str, stdin: str | None = None) -> str:
    return kube.run("kubectl", "--namespace", NAMESPACE, *arguments, stdin=stdin)


@pytest.fixture(scope="module")
def namespace() -> Iterator[None]:
    kube.run("kubectl", "create", "namespace", NAMESPACE)
    yield
    kube.run("kubectl", "delete", "namespace", NAMESPACE, "--wait=false")


@pytest.fixture(autouse=True)
def empty(namespace: None) -> None:
    """No Secrets, and no permissions of another test."""
    kubectl("delete", "secrets,roles,rolebindings", "--all")


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    return write(tmp_path, {})


def write(folder: Path, changes: Mapping[str, object]) -> Path:
    path = folder / "spec.json"
    path.write_text(json.dumps({**SPEC, **changes}))
    return path


def job(spec: Path, *arguments: str, kubeconfig: Path | None = None) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "jobs.secrets", "--spec", str(spec), *arguments]
    environment = {**os.environ, **({"KUBECONFIG": str(kubeconfig)} if kubeconfig else {})}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def done(spec: Path, *arguments: str) -> Sequence[str]:
    """Run the Job, which must succeed. Returns its lines."""
    result = job(spec, *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def secrets() -> dict[str, Any]:
    """The Secrets of the namespace."""
    found = json.loads(kubectl("get", "secrets", "--output=json"))["items"]
    return {secret["metadata"]["name"]: secret for secret in found}


def data(secret: Mapping[str, Any]) -> dict[str, bytes]:
    return {key: base64.b64decode(value) for key, value in secret["data"].items()}


def test_the_job_makes_what_is_missing_and_leaves_the_rest(spec: Path) -> None:
    lines = done(spec)
    assert lines[0] == "ca: a new CA"
    assert lines[-1] == "secrets of r: up to date"
    made = secrets()
    assert sorted(made) == sorted(NAMES)
    assert {name: secret["type"] for name, secret in made.items()} == {
        name: "kubernetes.io/tls" if name.endswith("-tls") else "Opaque" for name in NAMES
    }
    assert made["r-um-tls"]["metadata"]["labels"] == {
        "app.kubernetes.io/instance": "r",
        "app.kubernetes.io/managed-by": "recmesh-secrets",
        "app.kubernetes.io/part-of": "recmesh",
    }
    um, ca = data(made["r-um-tls"]), data(made["r-ca"])
    assert um["ca.crt"] == ca["ca.crt"]
    assert signed_by(pair_of(um["tls.crt"], um["tls.key"]).certificate, bundle_of(ca["ca.crt"])[0])
    redis = data(made["r-redis-auth"])
    assert sorted(redis) == ["operator", "um", "users.acl"]
    assert redis["um"] not in redis["users.acl"], "the list has hashes"

    assert done(spec) == ["secrets of r: up to date"]
    assert secrets() == made
    kubectl("delete", "secret", "r-um-tls")
    assert len(done(spec)) == 2
    assert data(secrets()["r-ca"]) == ca


def test_rotations_go_on_with_each_run(spec: Path) -> None:
    done(spec)
    before = {name: data(secret) for name, secret in secrets().items()}
    done(spec, "--rotate", "ca")
    done(spec, "--rotate", "redis")
    for _ in range(20):
        if done(spec)[0].startswith("ca: a run after") and "um.old" not in data(secrets()["r-redis-auth"]):
            break
    after = {name: data(secret) for name, secret in secrets().items()}
    authority = Authority.read(after["r-ca"])
    assert len(authority.bundle) == 2
    assert after["r-ca"]["ca.crt"].endswith(before["r-ca"]["ca.crt"])
    assert after["r-um-tls"]["ca.crt"] == after["r-ca"]["ca.crt"]
    um = pair_of(after["r-um-tls"]["tls.crt"], after["r-um-tls"]["tls.key"])
    assert signed_by(um.certificate, authority.signer.certificate)
    assert authority.signer.certificate == authority.bundle[0]
    assert after["r-redis-auth"]["um"] != before["r-redis-auth"]["um"]
    assert sorted(after["r-redis-auth"]) == ["operator", "um", "users.acl"]
    assert after["r-milvus-auth"] == before["r-milvus-auth"]


def test_many_runs_at_the_same_time_agree(spec: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda _: job(spec), range(6)))
    assert [result.returncode for result in results] == [0] * 6, [result.stderr for result in results]
    found = {name: data(secret) for name, secret in secrets().items()}
    authority = Authority.read(found["r-ca"])
    for name in ("r-um-tls", "r-client-tls"):
        assert found[name]["ca.crt"] == found["r-ca"]["ca.crt"]
        pair = pair_of(found[name]["tls.crt"], found[name]["tls.key"])
        assert signed_by(pair.certificate, authority.signer.certificate)
    created = [line for result in results for line in result.stdout.splitlines() if line == "ca: a new CA"]
    assert len(created) == 1
    assert done(spec) == ["secrets of r: up to date"]


def test_a_secret_that_somebody_else_made_is_used_as_it_is(spec: Path) -> None:
    kubectl("create", "secret", "generic", "r-redis-auth", "--from-literal=um=sesame")
    kubectl("create", "secret", "generic", "r-um-tls", "--from-literal=tls.crt=theirs")
    theirs = secrets()
    done(spec)
    made = secrets()
    assert sorted(made) == sorted(NAMES)
    assert {name: made[name] for name in theirs} == theirs
    refused = job(spec, "--rotate", "redis")
    assert refused.returncode == 2
    assert refused.stderr == (
        "secrets: --rotate redis: r-redis-auth was made by somebody else: change its content instead\n"
    )
    done(spec, "--rotate", "certificates")
    assert {name: secrets()[name] for name in theirs} == theirs


def test_labels_and_annotations_of_others_stay(spec: Path) -> None:
    done(spec)
    kubectl("annotate", "secret", "r-um-tls", "reloader=yes")
    done(spec, "--rotate", "certificates")
    assert secrets()["r-um-tls"]["metadata"]["annotations"] == {"reloader": "yes"}


@pytest.mark.parametrize(
    ("verbs", "refused"),
    [
        (["watch"], "get the Secret r-ca"),
        (["get"], "create the Secret r-ca"),
        (["get", "create"], "update the Secret r-um-tls"),
    ],
)
def test_a_missing_permission_is_named(spec: Path, tmp_path: Path, verbs: Sequence[str], refused: str) -> None:
    if "create" in verbs:
        done(spec)
    kubectl("apply", "--filename=-", stdin=ROLE % json.dumps(verbs))
    limited = tmp_path / "kubeconfig"
    config = json.loads(kube.run("kubectl", "config", "view", "--raw", "--flatten", "--minify", "--output=json"))
    config["users"][0]["user"] = {"token": kubectl("create", "token", "job").strip()}
    limited.write_text(json.dumps(config))
    result = job(spec, "--rotate", "certificates", kubeconfig=limited)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"secrets: cannot {refused}: Kubernetes: 403 Forbidden: secrets")
    assert f"system:serviceaccount:{NAMESPACE}:job" in line
    assert line.endswith("; allow it in the Role of this job")


def test_a_missing_namespace_is_named(tmp_path: Path) -> None:
    result = job(write(tmp_path, {"namespace": "no-such-namespace"}))
    assert result.returncode == 2
    assert result.stderr.startswith("secrets: cannot create the Secret r-")
    assert 'namespaces "no-such-namespace" not found' in result.stderr


def test_an_api_server_that_does_not_answer_is_named(spec: Path, tmp_path: Path) -> None:
    config = tmp_path / "kubeconfig"
    cluster = {"name": "none", "cluster": {"server": "http://127.0.0.1:1"}}
    context = {"name": "none", "context": {"cluster": "none", "user": ""}}
    config.write_text(
        json.dumps({"clusters": [cluster], "contexts": [context], "users": [], "current-context": "none"})
    )
    result = job(spec, kubeconfig=config)
    assert result.returncode == 6
    assert "secrets: Kubernetes does not answer: " in result.stderr.splitlines()[-1]
