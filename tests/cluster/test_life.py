"""`make cluster-test`: upgrades, rollbacks, deleted jobs, a late store, NetworkPolicies and the uninstallation."""

import json
import time

from tests.cluster import kube
from tests.cluster.conftest import client, note, recmesh, recommended, release, start_client, traffic

CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3); print('connected')"
MILVUS_LATE, MILVUS_LATE_SECONDS = "recmesh-test-late", 60.0


def connects(pod: str, host: str, port: int) -> bool:
    """Whether a pod can connect to an address."""
    command = ("exec", pod, "--", "python", "-c", CONNECT, host, str(port))
    return "connected" in kube.kubectl(*command, check=False)


def jobs() -> dict[str, str]:
    """Uids of the newest Jobs, by kind."""
    return {kind: kube.job(kind)["metadata"]["uid"] for kind in ("train", "ingest")}


def test_policies_allow_only_the_connections_of_the_architecture(operator: str) -> None:
    start_client("outsider", "recmesh.io/nobody", "wait.py")
    recall = kube.pods("recall")[0]["metadata"]["name"]
    assert connects(recall, "recmesh-milvus", 19530)
    assert connects(recall, "recmesh-redis", 6380)
    for component in ("rank", "as"):
        assert not connects(kube.pods(component)[0]["metadata"]["name"], "recmesh-redis", 6380), component
    assert not connects(kube.pods("as")[0]["metadata"]["name"], "recmesh-feed", 8940)
    for name, port in (("redis", 6380), ("milvus", 19530), ("recall", 8950), ("as", 8930), ("feed", 8940)):
        assert not connects("outsider", f"recmesh-{name}", port), name
    assert connects(operator, "recmesh-as", 8930)
    assert connects(operator, "recmesh-feed", 8940)


def test_an_upgrade_without_changes_starts_no_job(mesh: None) -> None:
    before = jobs()
    kube.upgrade()
    assert jobs() == before


def test_an_upgrade_trains_and_serves_new_settings_and_a_rollback_restores_the_old_release(operator: str) -> None:
    old, revision = release(operator), kube.revision()
    with traffic("upgrade that trains, and rollback", rate=10) as seen:
        kube.upgrade("--set=train.seed=2", "--set=dataset.version=2")
        kube.wait_until(lambda: kube.complete("ingest") and release(operator) != old, "the new release")
        kube.helm("rollback", kube.RELEASE, str(revision))
        kube.wait_until(lambda: kube.complete("ingest") and release(operator) == old, "the old release")
    assert seen.answers.failed == []


def test_a_deleted_job_runs_again_without_an_empty_answer(operator: str) -> None:
    with traffic("job ingest deleted, repeated and killed", rate=10) as seen:
        kube.kubectl("delete", f"job/{kube.job('ingest')['metadata']['name']}", "--wait")
        kube.upgrade()
        pod = kube.wait_until(lambda: kube.pods("ingest"), "a pod of the job")[0]["metadata"]["name"]
        kube.kubectl("delete", "pod", pod, "--grace-period=0", "--force")
        kube.wait_until(lambda: kube.complete("ingest"), "the job ingest")
    assert seen.answers.failed == []
    assert json.loads(client(operator, "cm", "12048", "--json"))["item_infos"]


def test_a_complete_job_is_not_repeated(mesh: None) -> None:
    assert "complete already" in recmesh("run", "train", "--watch")
    assert "complete" in recmesh("list")
    assert "release " in recmesh("logs", "train")


def test_repeating_a_training_takes_seconds(mesh: None) -> None:
    began = time.monotonic()
    printed = recmesh("run", "train", "--again", "--watch")
    assert "current: the model store already holds the release of this data set, code and seed" in printed
    note(f"recmesh job run train --again: {time.monotonic() - began:.0f} s")
    kube.upgrade()  # helm accepts the Job that it did not create


def test_a_reinstallation_finds_its_volumes_and_waits_for_a_late_milvus(operator: str) -> None:
    secrets = _secrets()
    kube.helm("uninstall", kube.RELEASE, "--wait")
    kinds = "all,networkpolicies,poddisruptionbudgets,serviceaccounts,configmaps,secrets,persistentvolumeclaims"
    left = kube.kubectl("get", kinds, kube.of(kube.RELEASE), "--output=name").split()
    assert {name.partition("/")[0] for name in left} <= {"persistentvolumeclaim", "pod", "secret"}, left
    # Services keep sending calls to a terminating pod if there is no other pod.
    mine = ("pods", kube.of(kube.RELEASE))
    kube.wait_until(lambda: not kube.get(*mine), "the end of all pods")
    kube.upgrade(f"--set-string=milvus.nodeSelector.{MILVUS_LATE}=yes")  # no node has this label
    try:
        kube.wait_until(lambda: kube.ready("um") and kube.ready("cm"), "um and cm, which need no Milvus")
        time.sleep(MILVUS_LATE_SECONDS)
        assert not kube.ready("recall")
        assert kube.restarts() == {}
        kube.run("kubectl", "label", "nodes", "--all", f"{MILVUS_LATE}=yes")
        kube.wait_until(lambda: kube.ready("milvus"), "Milvus")
    finally:
        kube.run("kubectl", "label", "nodes", "--all", f"{MILVUS_LATE}-")
    began = time.monotonic()
    kube.wait_until(kube.all_ready, "all services ready")
    note(f"Milvus {MILVUS_LATE_SECONDS:.0f} s late: all services ready {time.monotonic() - began:.0f} s later")
    assert kube.restarts() == {}
    kube.upgrade()  # Milvus may run on any node again
    kube.rolled_out("milvus", "statefulset")
    kube.wait_until(lambda: not recommended(operator).get("degraded"), "complete answers")
    assert _secrets() == secrets  # with which the kept volumes are read


def _secrets() -> dict[str, str]:
    """Uids of the Secrets of the installation, by name."""
    found = [secret["metadata"] for secret in kube.get("secrets", kube.of(kube.RELEASE))]
    return {metadata["name"]: metadata["uid"] for metadata in found}
