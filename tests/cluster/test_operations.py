"""`make cluster-test`: what people do: wrong values, drained nodes, rotations, restores, GitOps."""

import base64
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import yaml

from tests.cluster import kube
from tests.cluster.conftest import (
    HERE,
    USERS,
    client,
    metrics,
    note,
    recmesh,
    recommended,
    release,
    start_client,
    store_metrics,
    traffic,
)

SECOND = "second"
EXPORTER = f"{SECOND}-redis-0/metrics"
LAST_ITEM = "49155"  # only the shop of the session is so large
SETTLE_SECONDS = 120  # the kubelet takes up to 90 s to bring a changed Secret into a pod


def second_upgrade(*options: str) -> None:
    """Install or upgrade the second release, and wait until its pods are ready."""
    waiting = ("--wait", f"--timeout={kube.TIMEOUT_SECONDS:.0f}s")
    kube.upgrade(f"--values={HERE / 'second.yaml'}", *waiting, *options, release=SECOND)


def second_trained() -> None:
    """Wait until the second release serves what it has trained."""
    for kind in ("train", "ingest"):
        kube.wait_until(partial(kube.complete, kind, SECOND), f"the second job {kind}")


def start_second_client() -> str:
    """Start a pod that calls the second release, in place of a former one. Returns its name."""
    kube.kubectl("delete", "pod", "second-operator", "--ignore-not-found", "--wait")
    identity = f"{SECOND}-client-tls"
    start_client("second-operator", "recmesh.io/operator", "wait.py", identity=identity, release=SECOND)
    return "second-operator"


def remove_second() -> None:
    """Uninstall the second release, and delete all that it leaves."""
    kube.helm("uninstall", SECOND, "--wait")
    kube.kubectl("delete", "jobs,pods", kube.of(SECOND), "--wait")
    kube.kubectl("delete", "pvc,secrets", kube.of(SECOND), "--wait")


@pytest.fixture(scope="module")
def second(mesh: None) -> Iterator[str]:
    """A second release in the namespace of the first. Returns the name of a pod that calls it."""
    began = time.monotonic()
    second_upgrade()
    note(f"second release, compact: helm install --wait: {time.monotonic() - began:.0f} s")
    second_trained()
    yield start_second_client()
    kube.kubectl("delete", "pod", "second-operator")
    remove_second()


def test_two_releases_in_a_namespace_answer_with_their_own_data(operator: str, second: str) -> None:
    answers = {pod: recommended(pod) for pod in (operator, second)}
    assert not any(answer.get("degraded") for answer in answers.values())
    assert answers[operator]["release"] != answers[second]["release"]
    items = {pod: json.loads(client(pod, "cm", LAST_ITEM, "--json", check=False)).get("item_infos") for pod in answers}
    assert items[operator]
    assert not items[second]
    assert max(int(item["sku_id"]) for item in answers[second]["item_infos"]) < int(LAST_ITEM)


def test_a_larger_volume_follows_the_runbook(second: str) -> None:
    larger = "--set=milvus.persistence.size=3Gi"
    revision, pod = kube.revision(SECOND), kube.pods("milvus", release=SECOND)[0]["metadata"]["uid"]
    arguments = kube.with_values(f"--values={HERE / 'second.yaml'}", larger)
    refusal = kube.refused("helm", "upgrade", SECOND, *arguments)
    assert "milvus.persistence: the volume of second-milvus exists (2Gi ReadWriteOnce" in refusal
    assert '"A larger volume for Redis or Milvus" in docs/runbooks.md' in refusal
    assert kube.revision(SECOND) == revision

    # The storage class of this cluster cannot expand, and says so.
    patch = {"spec": {"resources": {"requests": {"storage": "3Gi"}}}}
    refusal = kube.refused("kubectl", "patch", "pvc", "data-second-milvus-0", f"--patch={json.dumps(patch)}")
    assert "must support resize" in refusal
    kube.kubectl("delete", "statefulset", "second-milvus", "--cascade=orphan")
    second_upgrade(larger)
    (claim,) = kube.get("statefulset", "second-milvus")["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "3Gi"
    assert kube.pods("milvus", release=SECOND)[0]["metadata"]["uid"] == pod  # it was not restarted
    assert not recommended(second).get("degraded")


def keep_volume(claim: str, name: str) -> None:
    """Delete a claim and keep its volume, which a new claim then has."""
    volume = kube.get("pvc", claim)["spec"]["volumeName"]
    spec = kube.get("pvc", claim)["spec"]
    _patch_volume(volume, {"persistentVolumeReclaimPolicy": "Retain"})
    kube.kubectl("delete", "pvc", claim, "--wait")
    _patch_volume(volume, {"claimRef": None})
    kept = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}
    kube.kubectl("create", "--filename=-", stdin=json.dumps(kept))
    _patch_volume(volume, {"persistentVolumeReclaimPolicy": "Delete"})


def _patch_volume(name: str, spec: dict[str, object]) -> None:
    kube.run("kubectl", "patch", "persistentvolume", name, f"--patch={json.dumps({'spec': spec})}")


def test_a_lost_installation_is_restored_from_the_model_store_while_another_serves_on(second: str) -> None:
    before = {user: recommended(second, user) for user in USERS[:10]}
    with traffic("another release removed and restored", rate=10) as seen:
        kube.helm("uninstall", SECOND, "--wait")
        kube.kubectl("delete", "jobs,pods", kube.of(SECOND), "--wait")
        keep_volume(f"{SECOND}-model-store", "backup")
        kube.kubectl("delete", "pvc,secrets", kube.of(SECOND), "--wait")
        began = time.monotonic()
        second_upgrade("--set=modelStore.volume.existingClaim=backup")
        note(f"restore: ready {time.monotonic() - began:.0f} s after the start")
        second_trained()
        note(f"restore: Redis and Milvus complete {time.monotonic() - began:.0f} s after the start")
    assert seen.answers.failed == []
    start_second_client()  # with a certificate of the new CA
    assert {user: recommended(second, user) for user in before} == before
    assert "current: the model store already holds" in kube.kubectl("logs", _job(SECOND, "train"))


def _job(of: str, kind: str) -> str:
    return f"job/{kube.job(kind, of)['metadata']['name']}"


def in_ingest(*command: str) -> None:
    """Run a command in a pod of the second release that may write to its model store."""
    name = f"{SECOND}-command"
    manifest = yaml.safe_load(kube.get("configmap", f"{SECOND}-jobs")["data"]["ingest"])
    spec = manifest["spec"]["template"]["spec"]
    del spec["initContainers"]
    spec["containers"][0].update(command=command, args=[])
    manifest["metadata"] = {"name": name}
    kube.kubectl("create", "--filename=-", stdin=json.dumps(manifest))
    kube.kubectl("wait", "--for=condition=Complete", f"job/{name}", f"--timeout={kube.TIMEOUT_SECONDS:.0f}s")
    kube.kubectl("delete", f"job/{name}", "--wait")


def test_lost_data_is_repaired(second: str) -> None:
    before = recommended(second)
    losses: dict[str, Callable[[], object]] = {
        "Redis was empty": partial(kube.kubectl, "delete", "pod", f"{SECOND}-redis-0"),
        "no release was active": partial(in_ingest, "rm", "/model-store/active"),
    }
    for reason, lose in losses.items():
        count = _repairs(second)
        lose()
        began = time.monotonic()
        kube.wait_until(partial(_repaired, second, count), f"a repair because {reason}")
        note(f"{reason}: repaired {time.monotonic() - began:.0f} s later")
        assert reason in recmesh("list", release=SECOND)
        assert recommended(second) == before


def test_scrapers_read_the_metrics_of_the_stores_also_after_a_rotation(second: str) -> None:
    redis, milvus = store_metrics(second, f"{SECOND}-redis", 9121), store_metrics(second, f"{SECOND}-milvus", 9091)
    assert {"redis_up 1", 'redis_exporter_last_scrape_error{err=""} 0'} <= set(redis)
    (keys,) = [line.split()[1] for line in redis if line.startswith('redis_db_keys{db="db0"}')]
    assert int(keys) > 500 + 300  # users and items
    assert "milvus_querycoord_collection_num 1" in milvus
    with quick_spec(SECOND) as spec:
        rotate(spec, "--rotate", "redis", of=SECOND)
        kube.wait_until(lambda: "a run after" not in rotate(spec, of=SECOND), "the end of the rotation")
    kube.wait_until(lambda: EXPORTER in kube.restarts(), "the exporter's restart")
    kube.wait_until(lambda: "redis_up 1" in store_metrics(second, f"{SECOND}-redis", 9121), "metrics of Redis")
    assert f"{SECOND}-redis-0/redis" not in kube.restarts()
    note(f"restarts after a rotation of Redis's passwords: {kube.restarts()}")


def _of_controller(second: str, metric: str) -> float:
    """The sum of a metric of the controller."""
    lines = metrics(second, kube.pods("controller", release=SECOND)[0], 18970)
    return sum(float(line.split()[-1]) for line in lines if line.startswith(f"{metric}{{"))


def _repairs(second: str) -> float:
    """Number of repairs that have ended."""
    return _of_controller(second, "recmesh_repairs_total")


def _repaired(second: str, count: float) -> bool:
    """Whether there was another repair, and nothing is missing."""
    return _repairs(second) > count and _of_controller(second, "recmesh_store_missing") == 0


def test_an_upgrade_with_a_missing_image_leaves_the_old_pods_serving(mesh: None) -> None:
    revision, uids = kube.revision(), _uids("as")
    missing = kube.with_values("--set=as.image.tag=missing", "--wait", "--timeout=30s")
    with traffic("upgrade with a missing image, and rollback", rate=10) as seen:
        refusal = kube.refused("helm", "upgrade", kube.RELEASE, *missing)
        reasons = {_waiting(pod) for pod in kube.pods("as")}
        assert uids < _uids("as")
        kube.helm("rollback", kube.RELEASE, str(revision))
        kube.rolled_out("as")
    note(f"missing image: {refusal.strip().splitlines()[-1]}")
    assert "Deployment/recmesh-test/recmesh-as" in refusal
    assert reasons & {"ErrImagePull", "ImagePullBackOff"}
    assert _uids("as") == uids
    assert seen.answers.failed == []


def _uids(component: str) -> set[str]:
    return {pod["metadata"]["uid"] for pod in kube.pods(component)}


def _waiting(pod: Any) -> str:
    """Why the container of a pod does not run; empty if it does."""
    (status,) = pod["status"]["containerStatuses"]
    return str(status["state"].get("waiting", {}).get("reason", ""))


@pytest.fixture
def two_of_as(mesh: None) -> Iterator[None]:
    """Two pods of `as`."""
    kube.upgrade("--set=as.replicas=2")
    kube.wait_until(lambda: kube.ready("as", 2), "two pods of as")
    yield
    uncordon()
    kube.upgrade()
    kube.wait_until(lambda: kube.ready("as"), "one pod of as")


def uncordon() -> None:
    """Let pods run on every node."""
    kube.run("kubectl", "uncordon", *_nodes())


def _nodes() -> list[str]:
    return kube.run("kubectl", "get", "nodes", "--output=name").split()


def test_a_drained_node_gives_up_one_pod_at_a_time(two_of_as: None) -> None:
    before = _uids("as")
    selector = f"--pod-selector={kube.of(kube.RELEASE, 'as').partition('=')[2]}"
    with traffic("node drained: one of two pods of as at a time", rate=10) as seen:
        # There is no other node on which the first pod could be replaced.
        refusal = kube.refused("kubectl", "drain", *_nodes(), selector, "--delete-emptydir-data", "--timeout=20s")
        assert "Cannot evict pod as it would violate the pod's disruption budget" in refusal
        (left,) = [pod for pod in kube.pods("as") if pod["metadata"]["uid"] in before]
        uncordon()
        kube.wait_until(lambda: kube.ready("as", 2), "two pods of as")
        evict(left["metadata"]["name"])
        kube.wait_until(lambda: kube.ready("as", 2) and not _uids("as") & before, "two new pods of as")
    assert seen.answers.failed == []


def evict(pod: str) -> None:
    """Evict a pod, as far as its disruption budget allows it."""
    path = f"/api/v1/namespaces/{kube.NAMESPACE}/pods/{pod}/eviction"
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": kube.NAMESPACE}}
    kube.kubectl("create", f"--raw={path}", "--filename=-", stdin=json.dumps(eviction))


def test_everything_scaled_to_zero_comes_back_with_its_data(operator: str) -> None:
    item = recommended(operator)["item_infos"][0]["sku_id"]
    client(operator, "record", "user-before-the-pause", item)
    before = kube.wait_until(lambda: _history(operator), "the recorded action")
    workloads = kube.kubectl("get", "deployments,statefulsets", kube.of(kube.RELEASE), "--output=name").split()
    kube.kubectl("scale", *workloads, "--replicas=0")
    components = [*kube.SERVICES, "redis", "milvus"]
    kube.wait_until(lambda: not any(kube.pods(name, ending=True) for name in components), "the end of all pods")
    kube.kubectl("scale", *workloads, "--replicas=1")
    began = time.monotonic()
    kube.wait_until(lambda: '"item_infos"' in client(operator, "as", USERS[0], "--json", check=False), "an answer")
    note(f"scaled to zero and back: first answer with items after {time.monotonic() - began:.0f} s")
    kube.wait_until(kube.all_ready, "all services ready")
    kube.wait_until(lambda: not recommended(operator).get("degraded"), "complete answers")
    note(f"scaled to zero and back: complete answers after {time.monotonic() - began:.0f} s")
    assert _history(operator) == before


def _history(operator: str) -> list[str]:
    """The items of the user who acted before the pause."""
    answer = json.loads(client(operator, "um", "user-before-the-pause", "--json"))
    return list(answer.get("history", {}).get("sku_ids", ()))


def test_a_wrong_url_of_the_data_set_fails_the_jobs_and_the_old_release_serves_on(operator: str) -> None:
    before, revision = release(operator), kube.revision()
    with traffic("data set at a wrong URL", rate=10) as seen:
        kube.upgrade("--set=dataset.source=https://nowhere.invalid/x.zip")
        began = time.monotonic()
        for kind in ("train", "ingest"):
            job = kube.wait_until(partial(_failed, kind), f"the failure of {kind}")
            log = kube.kubectl("logs", f"job/{job['metadata']['name']}", "--container=dataset")
            note(f"wrong URL: {kind} failed {time.monotonic() - began:.0f} s after the upgrade: {log.strip()}")
            assert job["status"]["failed"] <= 1 + job["spec"]["backoffLimit"]
            assert len([line for line in log.splitlines() if "https://nowhere.invalid/x.zip" in line]) == 1
            assert re.search(rf"{kind} .* failed", recmesh("list"))
        assert release(operator) == before
        kube.helm("rollback", kube.RELEASE, str(revision))
        kube.wait_until(partial(kube.complete, "ingest"), "the former jobs")
    assert seen.answers.failed == []


def _failed(kind: str) -> Any:
    """The newest Job of a kind if it has failed."""
    job = kube.job(kind)
    conditions = {condition["type"] for condition in job["status"].get("conditions", ())}
    return job if "Failed" in conditions else None


@contextmanager
def quick_spec(of: str) -> Iterator[str]:
    """A ConfigMap with the spec of the secrets Job of a release, and less time between its steps. Yields its name."""
    spec = json.loads(kube.get("configmap", f"{of}-secrets-spec")["data"]["spec.json"])
    spec["settle_seconds"] = SETTLE_SECONDS
    kube.kubectl("create", "configmap", "rotation", f"--from-literal=spec.json={json.dumps(spec)}")
    yield "rotation"
    kube.kubectl("delete", "configmap", "rotation")


def test_all_secrets_are_rotated_without_a_failed_call(operator: str) -> None:
    before = {name: _secret(name) for name in ("ca", "um-tls", "client-tls", "redis-auth", "milvus-auth")}
    ends = _certificate_end(operator)
    with traffic("certificates, CA and passwords rotated", rate=10) as seen, quick_spec(kube.RELEASE) as spec:
        for what in ("certificates", "ca", "redis", "milvus"):
            note(f"--rotate {what}: {rotate(spec, '--rotate', what).strip()}")
        kube.wait_until(lambda: "a run after" not in _next_steps(rotate(spec)), "the end of the rotations")
        recmesh("run", "ingest", "--again", "--watch")  # sets the passwords in Milvus
        kube.roll("recall")  # the new pod has the new password alone
    assert seen.answers.failed == []
    # Milvus ends to read a new certificate, the exporter of the other release to read a new password.
    assert set(kube.restarts()) <= {"recmesh-milvus-0/milvus", EXPORTER}
    after = {name: _secret(name) for name in before}
    assert after["ca"]["ca.crt"].endswith(before["ca"]["ca.crt"])  # which is trusted until its certificates have ended
    assert after["ca"]["ca.key"] != before["ca"]["ca.key"]
    for name in ("um-tls", "client-tls"):
        assert after[name]["tls.crt"] != before[name]["tls.crt"]
    for name, users in {"redis-auth": ("um", "cm", "recall", "ingest"), "milvus-auth": ("root", "recall")}.items():
        assert all(after[name][user] != before[name][user] for user in users)
    assert _certificate_end(operator) > ends
    assert not recommended(operator).get("degraded")


def rotate(spec: str, *arguments: str, of: str = kube.RELEASE) -> str:
    """Run the secrets Job with the spec of a ConfigMap. Returns its log."""

    def change(pod: Any) -> None:
        pod["containers"][0]["args"] += arguments
        (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "spec"]
        volume["configMap"]["name"] = spec

    return kube.run_scheduled("secrets", change, of)


def _next_steps(log: str) -> str:
    """What a run says about later ones, without the end of the old CA's certificates, months from now."""
    return "\n".join(line for line in log.splitlines() if "drops the old CA" not in line)


def _secret(name: str) -> dict[str, bytes]:
    """The content of a Secret of the release."""
    found = kube.get("secret", f"{kube.RELEASE}-{name}")["data"]
    return {key: base64.b64decode(value) for key, value in found.items()}


def _certificate_end(operator: str) -> float:
    """When the certificate that um uses ends."""
    lines = metrics(operator, kube.pods("um")[0], 18910)
    (end,) = [line for line in lines if line.startswith("recmesh_certificate_expiry_timestamp_seconds")]
    return float(end.split()[-1])


@pytest.fixture
def gitops_namespace() -> Iterator[str]:
    """A namespace without anything of Helm."""
    name = f"{kube.NAMESPACE}-{time.time_ns()}"
    kube.run("kubectl", "create", "namespace", name)
    yield name
    kube.run("kubectl", "delete", "namespace", name, "--wait=false")
    kube.run("kubectl", "delete", "priorityclasses", f"{name}-r-serving", f"{name}-r-jobs", "--ignore-not-found")


@pytest.mark.parametrize("server_side", [False, True])
@pytest.mark.parametrize("values", [(), (f"--values={HERE / 'gitops.yaml'}",)])
def test_what_is_applied_does_not_differ(gitops_namespace: str, values: Sequence[str], server_side: bool) -> None:
    nowhere = "--set=global.nodeSelector.recmesh-test=nowhere"
    arguments = kube.with_values(nowhere, *values)
    rendered = kube.run("helm", "template", "r", *arguments, f"--namespace={gitops_namespace}", "--no-hooks")
    for command in ("apply", "diff"):  # diff fails if there is a difference
        options = (command, f"--namespace={gitops_namespace}", f"--server-side={str(server_side).lower()}")
        printed = kube.run("kubectl", *options, "--filename=-", stdin=rendered)
    assert printed == ""


def test_a_job_that_kubectl_made_does_not_disturb_an_upgrade(mesh: None) -> None:
    uid = kube.job("train")["metadata"]["uid"]
    manifest = kube.get("configmap", f"{kube.RELEASE}-jobs")["data"]["train"]
    created = kube.kubectl("create", "--filename=-", "--output=name", stdin=manifest).strip()
    kube.upgrade()
    assert len(kube.get("jobs", kube.of(kube.RELEASE, "train"))) == 2
    kube.kubectl("delete", created, "--wait")
    assert kube.job("train")["metadata"]["uid"] == uid
