"""`make cluster-test`: `as` keeps answering under load while pods are deleted, updated and scaled."""

import time
from functools import partial
from typing import Any

import pytest

from tests.cluster import kube
from tests.cluster.conftest import RATE, USERS, client, metrics, note, pods_use, traffic

LOAD_SECONDS = 90.0  # the metrics API averages over up to half a minute


def test_resource_usage_under_load(mesh: None) -> None:
    with traffic("load only") as seen:
        time.sleep(LOAD_SECONDS)
        for line in pods_use():
            note(f"at {RATE:g} requests/s: {line}")
    assert seen.answers.failed == []
    assert kube.restarts() == {}


@pytest.mark.parametrize("service", ["um", "cm", "rank"])
def test_a_rolling_update_loses_no_answer(mesh: None, service: str) -> None:
    with traffic(f"rolling update of {service}") as seen:
        kube.roll(service)
    assert seen.answers.failed == []


@pytest.mark.parametrize("component", ["um", "cm", "recall", "rank", "redis", "milvus"])
def test_a_deleted_pod_costs_no_answer(mesh: None, component: str) -> None:
    with traffic(f"pod of {component} deleted") as seen:
        kube.delete_pod(component)
    assert seen.answers.failed == []


def test_deleting_one_of_two_pods_of_as_costs_no_answer(mesh: None) -> None:
    kube.kubectl("scale", "deployment/recmesh-as", "--replicas=2")
    kube.wait_until(lambda: kube.ready("as", 2), "two pods of as")
    with traffic("one of two pods of as deleted") as seen:
        kube.kubectl("delete", "pod", kube.pods("as")[0]["metadata"]["name"], "--wait=false")
        kube.wait_until(lambda: kube.ready("as", 2), "two pods of as")
    kube.kubectl("scale", "deployment/recmesh-as", "--replicas=1")
    kube.wait_until(lambda: kube.ready("as"), "one pod of as")
    assert seen.answers.failed == []


def test_a_deleted_pod_of_paddle_serving_costs_no_answer(paddle_serving: None, operator: str) -> None:
    def scored() -> bool:
        client(operator, "as", USERS[0])
        return _scored_by(operator, "paddle-serving") > 0

    kube.wait_until(scored, "a list that Paddle Serving has scored")
    before = _scored_by(operator, "onnx")
    with traffic("pod of paddle-serving deleted") as seen:
        kube.delete_pod("paddle-serving")
    assert seen.answers.failed == []
    assert _scored_by(operator, "onnx") > before  # in the process of rank, meanwhile


def _scored_by(operator: str, backend: str) -> float:
    """Number of lists that a backend has scored for the pod of rank."""
    return _metric(operator, kube.pods("rank")[0], 18960, "recmesh_rank_backend_seconds_count", backend)


def test_scaling_up_spreads_the_calls_and_scaling_down_loses_none(operator: str) -> None:
    with traffic("recall from 1 to 3 pods and back") as seen:
        kube.kubectl("scale", "deployment/recmesh-recall", "--replicas=3")
        kube.wait_until(lambda: kube.ready("recall", 3), "three pods of recall")
        shares = kube.wait_until(partial(_even_shares, operator), "an even spread of calls", seconds=90)
        kube.kubectl("scale", "deployment/recmesh-recall", "--replicas=1")
        kube.wait_until(lambda: kube.ready("recall"), "one pod of recall")
    note(f"recall, shares of 3 pods: {', '.join(f'{share:.0%}' for share in shares)}")
    assert seen.answers.failed == []


def _even_shares(operator: str) -> list[float] | None:
    """The share of each pod of recall in the calls of five seconds; None unless all shares are between 15 and 55 %."""
    before = _calls(operator)
    kube.kubectl("exec", "load", "--", "python", "-c", "import time; time.sleep(5)")
    after = _calls(operator)
    gained = [after[pod] - before.get(pod, 0) for pod in after]
    shares = [calls / sum(gained) if sum(gained) else 0 for calls in gained]
    return shares if len(shares) == 3 and all(0.15 <= share <= 0.55 for share in shares) else None


def _calls(operator: str) -> dict[str, float]:
    """Calls that each pod of recall has answered."""
    pods = kube.pods("recall")
    return {pod["metadata"]["name"]: _metric(operator, pod, 18950, "recmesh_requests_total") for pod in pods}


def _metric(operator: str, pod: Any, port: int, name: str, label: str = "") -> float:
    """The sum of a metric of a pod, over all series that contain `label`."""
    lines = metrics(operator, pod, port)
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name) and label in line)
