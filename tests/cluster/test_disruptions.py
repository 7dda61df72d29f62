"""`make cluster-test`: whatever goes away under load, `as` answers (C41)."""

import pytest

from tests.cluster import kube
from tests.cluster.conftest import note, traffic


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


def test_a_deleted_pod_of_as_costs_no_answer_where_there_are_two(mesh: None) -> None:
    kube.kubectl("scale", "deployment/recmesh-as", "--replicas=2")
    kube.wait_until(lambda: kube.ready("as", 2), "two pods of as")
    with traffic("one of two pods of as deleted") as seen:
        kube.kubectl("delete", "pod", kube.pods("as")[0]["metadata"]["name"], "--wait=false")
        kube.wait_until(lambda: kube.ready("as", 2), "two pods of as")
    kube.kubectl("scale", "deployment/recmesh-as", "--replicas=1")
    kube.wait_until(lambda: kube.ready("as"), "one pod of as")
    assert seen.answers.failed == []


def test_more_pods_share_the_calls_and_fewer_lose_none(mesh: None) -> None:
    with traffic("recall from 1 to 3 pods and back") as seen:
        kube.kubectl("scale", "deployment/recmesh-recall", "--replicas=3")
        kube.wait_until(lambda: kube.ready("recall", 3), "three pods of recall")
        shares = kube.wait_until(_even_shares, "an even spread of calls", patience=90)
        kube.kubectl("scale", "deployment/recmesh-recall", "--replicas=1")
        kube.wait_until(lambda: kube.ready("recall"), "one pod of recall")
    note(f"recall, shares of 3 pods: {', '.join(f'{share:.0%}' for share in shares)}")
    assert seen.answers.failed == []


def _even_shares() -> list[float] | None:
    """The shares of the calls of five seconds that each pod of recall got, once each has between 15 and 55 %."""
    before = _calls()
    kube.kubectl("exec", "load", "--", "python", "-c", "import time; time.sleep(5)")
    after = _calls()
    gained = [after[pod] - before.get(pod, 0) for pod in after]
    shares = [one / sum(gained) if sum(gained) else 0 for one in gained]
    return shares if len(shares) == 3 and all(0.15 <= share <= 0.55 for share in shares) else None


def _calls() -> dict[str, float]:
    """The calls that each pod of recall has answered, from its metrics."""
    code = (
        "import urllib.request;"
        "text = urllib.request.urlopen('http://127.0.0.1:18950/metrics').read().decode();"
        "print(sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith('recmesh_requests_total')))"
    )
    names = [pod["metadata"]["name"] for pod in kube.pods("recall")]
    return {name: float(kube.kubectl("exec", name, "--", "python", "-c", code)) for name in names}
