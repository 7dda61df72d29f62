"""A mesh on the cluster of the current context, installed once; load on it; measurements, printed at the end.

RECMESH_IMAGE_* configure how images are built and loaded (docker/images.py), RECMESH_CLUSTER_* the tests:

- RECMESH_CLUSTER_IMAGES=0: the images are already in the cluster.
- RECMESH_CLUSTER_FRESH=0: the mesh is already installed.
- RECMESH_CLUSTER_KEEP=1: keep the installation.
- RECMESH_CLUSTER_VALUES: additional files of values, separated by commas.
"""

import json
import os
import re
import shlex
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import yaml

from tests.cluster import kube
from tests.servers import ROOT

sys.path.insert(0, str(ROOT / "docker"))

import images as images_of_recmesh

HERE = ROOT / "tests" / "cluster"
RATE = float(os.environ.get("RECMESH_CLUSTER_RATE", "30"))
_SUBSTITUTES = yaml.safe_load((HERE / "substitutes.yaml").read_text())
STORES = {
    name: f"docker.io/{repository}:{values['image']['tag']}"
    for name, repository, values in (
        ("redis", "library/redis", _SUBSTITUTES["redis"]),
        ("redis_exporter", "oliver006/redis_exporter", _SUBSTITUTES["redis"]["metrics"]),
        ("milvus", "milvusdb/milvus", _SUBSTITUTES["milvus"]),
    )
}
USERS = [str(user) for user in range(5000, 5050)]
BEFORE_SECONDS, AFTER_SECONDS = 5.0, 10.0
# The address names a pod, and its certificate does not.
READ_METRICS = """import ssl, sys, urllib.request
context = ssl.create_default_context(cafile="/tls/ca.crt")
context.check_hostname = False
context.load_cert_chain("/tls/tls.crt", "/tls/tls.key")
print(urllib.request.urlopen(sys.argv[1], context=context, timeout=10).read().decode())"""

_measurements: list[str] = []


def note(text: str) -> None:
    """Record a measurement, which is printed at the end of the run."""
    _measurements.append(text)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the measurements."""
    if _measurements:
        terminalreporter.section("measurements")
        for line in _measurements:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def images() -> None:
    """All images, built and loaded into the cluster."""
    build_images("um", "cm", "recall", "rank", "as", "feed", "compact", "ingest", "train")


def build_images(*names: str) -> None:
    """Build images and load them into the cluster, unless RECMESH_CLUSTER_IMAGES=0."""
    if os.environ.get("RECMESH_CLUSTER_IMAGES") == "0":
        return
    began = time.monotonic()
    subprocess.run([sys.executable, "docker/images.py", "build", *names], cwd=ROOT, check=True)
    note(f"images {', '.join(names)}: {time.monotonic() - began:.0f} s")


@pytest.fixture(scope="session")
def stores(images: None) -> None:
    """Images of Redis, its exporter and Milvus."""
    for name, tag in STORES.items():
        build_store(name, tag)


def build_store(name: str, tag: str) -> None:
    """With RECMESH_CLUSTER_STORES=1, build a substitute for a public image, for clusters without a registry."""
    if os.environ.get("RECMESH_CLUSTER_STORES") != "1" or os.environ.get("RECMESH_CLUSTER_IMAGES") == "0":
        return
    file = f"tests/cluster/images/{name}.Dockerfile"
    command = os.environ["RECMESH_IMAGE_BUILD"].format(tag=tag, file=file, arguments="", context=".")
    subprocess.run(shlex.split(command), cwd=ROOT, check=True)


@pytest.fixture(scope="session")
def namespace(stores: None) -> Iterator[str]:
    """A namespace with the restricted Pod Security Standard; the existing one if RECMESH_CLUSTER_FRESH=0."""
    if os.environ.get("RECMESH_CLUSTER_FRESH") == "0":
        yield kube.NAMESPACE
        return
    kube.run("kubectl", "delete", "namespace", kube.NAMESPACE, "--ignore-not-found", "--wait")
    kube.run("kubectl", "create", "namespace", kube.NAMESPACE)
    label = "pod-security.kubernetes.io/enforce=restricted"
    kube.run("kubectl", "label", "namespace", kube.NAMESPACE, label)
    programs = [f"--from-file={HERE / name}" for name in ("load.py", "record.py", "stranger.py", "wait.py")]
    kube.kubectl("create", "configmap", "programs", *programs)
    yield kube.NAMESPACE
    if os.environ.get("RECMESH_CLUSTER_KEEP") != "1":
        kube.run("kubectl", "delete", "namespace", kube.NAMESPACE, "--wait")


@pytest.fixture(scope="session")
def first_answers(namespace: str) -> "Answers":
    """The installed chart with the trained release. Returns what was answered after all services had become ready."""
    began = time.monotonic()
    kube.upgrade("--wait", f"--timeout={kube.TIMEOUT_SECONDS:.0f}s")  # changes nothing in an existing installation
    note(f"helm install --wait: {time.monotonic() - began:.0f} s")
    with traffic("a starter serves, then the trained release", rate=10) as seen:
        for kind in ("train", "ingest"):
            kube.wait_until(partial(kube.complete, kind), f"the job {kind}")
            note(f"job {kind} complete: {time.monotonic() - began:.0f} s after the start")
    return seen.answers


@pytest.fixture(scope="session")
def mesh(first_answers: "Answers") -> None:
    """The installed chart, with completed jobs and all services ready."""
    kube.wait_until(kube.all_ready, "all services ready")


@pytest.fixture
def paddle_serving(mesh: None) -> Iterator[None]:
    """The mesh with Paddle Serving on CPUs as the backend of rank."""
    build_images("paddle-serving")
    kube.upgrade("--set=paddleServing.enabled=true,paddleServing.device=cpu")
    kube.wait_until(lambda: kube.ready("paddle-serving"), "Paddle Serving")
    yield
    kube.upgrade()
    kube.rolled_out("rank")  # restarts without Paddle Serving
    kube.wait_until(lambda: not kube.pods("paddle-serving"), "the end of Paddle Serving")


@pytest.fixture(scope="session")
def operator(mesh: None) -> str:
    """Name of a pod that may call every service."""
    start_client("operator", "recmesh.io/operator", "wait.py")
    return "operator"


def start_client(
    name: str,
    label: str,
    program: str,
    *arguments: str,
    identity: str = "recmesh-client-tls",
    release: str = kube.RELEASE,
) -> None:
    """Start a pod that runs a program of this folder, and wait until it is ready.

    Args:
        name: Of the pod.
        label: Decides by the NetworkPolicies whom it may call.
        program: A file of this folder.
        arguments: Of the program.
        identity: The Secret with its certificate; empty for plain connections.
        release: Whose services it calls.
    """
    files = {"certificate": "tls.crt", "key": "tls.key", "ca": "ca.crt"}
    kube.apply(
        HERE / "client.yaml",
        name=name,
        release=release,
        label=label,
        secret=identity or "none",
        **{variable: f"/tls/{file}" if identity else "" for variable, file in files.items()},
        image=images_of_recmesh.tag("ingest"),
        program=f"/programs/{program}",
        arguments=", ".join(json.dumps(argument) for argument in arguments),
    )
    kube.kubectl("wait", "--for=condition=Ready", f"pod/{name}", f"--timeout={kube.TIMEOUT_SECONDS:.0f}s")


def client(pod: str, *arguments: str, check: bool = True) -> str:
    """Run client.py in a pod. Returns its output."""
    return kube.kubectl("exec", pod, "--", "python", "client.py", *arguments, check=check)


def recommended(pod: str, user: str = USERS[0]) -> Any:
    """The answer of `as` to a pod."""
    return json.loads(client(pod, "as", user, "--json"))


def release(pod: str) -> str:
    """The release of that answer."""
    return str(recommended(pod)["release"])


@dataclass
class Answers:
    """Answers to the callers of `as`. Times are seconds since the epoch."""

    lines: list[dict[str, Any]]

    @property
    def failed(self) -> list[str]:
        """Errors, and "empty" for answers without items."""
        return [line["error"] or "empty" for line in self.lines if line["error"] or not line["items"]]

    @property
    def degraded(self) -> str:
        """Number of degraded answers, in total and by missing part."""
        parts = Counter(part for line in self.lines for part in line["degraded"])
        named = ", ".join(f"{part} {count}" for part, count in parts.most_common())
        return f"{sum(bool(line['degraded']) for line in self.lines)} degraded" + (f" ({named})" if named else "")

    def p99(self, since: float, until: float) -> float:
        """99th percentile in milliseconds of the requests that began between two times."""
        times = [line["seconds"] for line in self.lines if since <= line["began"] < until]
        return 1000 * statistics.quantiles(times, n=100)[98] if len(times) > 1 else float("nan")


@dataclass
class Traffic:
    """A continuous load.

    Attributes:
        name: What happens during the load.
        began: When it began.
        ended: When it ended.
        answers: All answers, once the load has ended.
    """

    name: str
    began: float = 0.0
    ended: float = 0.0
    answers: Answers = field(default_factory=lambda: Answers([]))


def metrics(operator: str, pod: Any, port: int) -> list[str]:
    """The lines of a pod's metrics, which a pod with network access and a certificate reads."""
    return _read_metrics(operator, f"https://{pod['status']['podIP']}:{port}/metrics")


def store_metrics(operator: str, store: str, port: int) -> list[str]:
    """The lines of the metrics of a Redis or Milvus, which are plain HTTP."""
    return _read_metrics(operator, f"http://{store}:{port}/metrics")


def _read_metrics(operator: str, address: str) -> list[str]:
    return kube.kubectl("exec", operator, "--", "python", "-c", READ_METRICS, address).splitlines()


@contextmanager
def traffic(what: str, rate: float = RATE, identity: str = "recmesh-client-tls") -> Iterator[Traffic]:
    """Put a steady load on `as` from a client pod before, during and after the block, and record measurements."""
    name = "load"
    kube.kubectl("delete", "pod", name, "--ignore-not-found", "--wait")
    target = "dns:///recmesh-as:8930"
    start_client(name, "recmesh.io/client", "load.py", target, str(rate), *USERS, identity=identity)
    seen = Traffic(what)
    time.sleep(BEFORE_SECONDS)  # an undisturbed period to compare with
    seen.began = time.time()
    yield seen
    seen.ended = time.time()
    time.sleep(AFTER_SECONDS)
    seen.answers = Answers([line for line in end_load(name) if "began" in line])
    last = seen.ended + AFTER_SECONDS
    p99 = [seen.answers.p99(*span) for span in ((0, seen.began), (seen.began, seen.ended), (seen.ended, last))]
    note(
        f"{what}: {len(seen.answers.lines)} sent, {len(seen.answers.failed)} failed, "
        f"{seen.answers.degraded}; p99 before, during, after: {' / '.join(f'{ms:.0f}' for ms in p99)} ms "
        f"({seen.ended - seen.began:.0f} s, {rate:g} requests/s)"
    )


def pods_use() -> list[str]:
    """CPU and memory of each pod in the last window of the metrics API; empty if the cluster has no such API."""
    return kube.kubectl("top", "pods", "--no-headers", check=False).splitlines()


def written_and_removed(log: str) -> tuple[int, int]:
    """What the archiver says that it has written and removed: numbers of entries."""
    found = re.search(r"([\d,]+) entries written, ([\d,]+) removed from the log", log)
    assert found, log
    written, removed = (int(number.replace(",", "")) for number in found.groups())
    return written, removed


def recmesh(*arguments: str, release: str = kube.RELEASE) -> str:
    """Run `recmesh job`. Returns its output."""
    options = (f"--namespace={kube.NAMESPACE}", f"--release={release}")
    return kube.run(sys.executable, "-m", "recmesh", "job", *arguments, *options)


def end_load(pod: str) -> list[dict[str, Any]]:
    """End the load of a pod. Returns the lines of JSON that it has printed."""
    kube.kubectl("exec", pod, "--", "python", "-c", "import os, signal; os.kill(1, signal.SIGTERM)")
    kube.wait_until(lambda: kube.get("pod", pod)["status"]["phase"] == "Succeeded", "the end of the load")
    return [json.loads(line) for line in kube.kubectl("logs", pod).splitlines() if line.startswith("{")]
