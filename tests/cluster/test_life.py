"""`make cluster-test`: upgrades, rollbacks (C32), deleted jobs (C34), late stores (C39), policies, the end."""

import json
import subprocess

import pytest

from tests.cluster import kube
from tests.cluster.conftest import USERS, client, start_client, traffic

NO_POLICY = "recmesh.io/nobody"
CONNECT = (
    "import socket, sys;s = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3);print('connected')"
)


def connects(pod: str, host: str, port: int) -> bool:
    command = ("exec", pod, "--", "python", "-c", CONNECT, host, str(port))
    return "connected" in kube.kubectl(*command, check=False)


def test_policies_admit_the_arrows_and_nobody_else(operator: str) -> None:
    start_client("outsider", NO_POLICY, "wait.py")
    recall = kube.pods("recall")[0]["metadata"]["name"]
    assert connects(recall, "recmesh-milvus", 19530)
    assert not connects(recall, "recmesh-redis", 6379)
    for name, port in (("redis", 6379), ("milvus", 19530), ("recall", 8950), ("as", 8930)):
        assert not connects("outsider", f"recmesh-{name}", port), name
    assert connects(operator, "recmesh-as", 8930)


def test_an_upgrade_that_changes_nothing_starts_nothing(mesh: None) -> None:
    before = {kind: kube.job(kind)["metadata"]["uid"] for kind in ("train", "ingest")}
    kube.upgrade()
    assert {kind: kube.job(kind)["metadata"]["uid"] for kind in ("train", "ingest")} == before


def test_new_data_is_trained_and_served_and_a_rollback_brings_the_old_back(operator: str) -> None:
    old = release(operator)
    revision = int(json.loads(kube.helm("history", kube.RELEASE, "--output=json"))[-1]["revision"])
    with traffic("upgrade to new data, and rollback", rate=10) as seen:
        kube.upgrade("--set=dataset.source=ml_100k_like", "--set=train.seed=2", "--set=dataset.source=synthetic")
        kube.wait_until(lambda: kube.complete("train") and kube.complete("ingest"), "training with another seed")
        kube.helm("rollback", kube.RELEASE, str(revision))
        kube.wait_until(lambda: kube.complete("train") and kube.complete("ingest"), "the jobs of the rollback")
        kube.wait_until(kube.all_ready, "all services ready")
    assert seen.answers.failed == []
    assert release(operator)
    assert old


def release(pod: str) -> str:
    """The release that answers."""
    return str(json.loads(client(pod, "as", USERS[0], "--json"))["release"])


def test_a_deleted_job_is_run_again_without_an_empty_answer(operator: str) -> None:
    with traffic("job ingest deleted and run again", rate=10) as seen:
        kube.kubectl("delete", f"job/{kube.job('ingest')['metadata']['name']}", "--wait")
        kube.upgrade()
        kube.wait_until(lambda: kube.complete("ingest"), "the job ingest")
    assert seen.answers.failed == []
    assert json.loads(client(operator, "cm", "12048", "--json"))["itemInfos"]


def test_recmesh_job_finds_finished_work_and_lists_it(mesh: None) -> None:
    def recmesh(*arguments: str) -> str:
        return kube.run("python3", "-m", "recmesh", "job", *arguments, f"--namespace={kube.NAMESPACE}")

    assert "complete already" in recmesh("run", "train", "--watch")
    assert "train" in recmesh("list")
    assert "release " in recmesh("logs", "train")


def test_it_goes_and_comes_back_over_its_volumes(mesh: None) -> None:
    kube.helm("uninstall", kube.RELEASE, "--wait")
    left = kube.kubectl(
        "get", "all,networkpolicies,pvc,configmaps", "--selector=app.kubernetes.io/part-of=recmesh", "-oname"
    )
    assert {line.partition("/")[0] for line in left.split()} <= {"persistentvolumeclaim", "pod"}
    kube.upgrade("--set=milvus.podAnnotations.late=true")
    kube.kubectl("scale", "statefulset/recmesh-milvus", "--replicas=0")
    kube.wait_until(lambda: not kube.pods("milvus"), "Milvus gone")
    kube.wait_until(lambda: kube.ready("um") and kube.ready("cm"), "um and cm")
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(["sleep", "infinity"], timeout=60, check=False)  # as late as the databases may be
    assert not kube.ready("recall")
    kube.kubectl("scale", "statefulset/recmesh-milvus", "--replicas=1")
    kube.wait_until(kube.all_ready, "all services ready")
    assert kube.restarts() == {}
