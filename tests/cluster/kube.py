"""kubectl and helm against the current context, as the tests use them."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.servers import ROOT

NAMESPACE = os.environ.get("RECMESH_CLUSTER_NAMESPACE", "recmesh-test")
RELEASE = "recmesh"
CHART = ROOT / "charts" / "recmesh"
VALUES = [
    str(ROOT / "tests" / "cluster" / "values.yaml"),
    *filter(None, os.environ.get("RECMESH_CLUSTER_VALUES", "").split(",")),
]
SERVICES = ("um", "cm", "recall", "rank", "as")

# Generous: what a test waits for comes in seconds, but two cores may be busy with something else.
PATIENCE = float(os.environ.get("RECMESH_CLUSTER_PATIENCE", "900"))


def run(*command: str, check: bool = True, stdin: str | None = None) -> str:
    """A command's standard output. Fails the test with its standard error."""
    result = subprocess.run(command, capture_output=True, text=True, check=False, input=stdin)
    assert result.returncode == 0 or not check, f"{' '.join(command)}: {result.stderr or result.stdout}"
    return result.stdout


def kubectl(*arguments: str, check: bool = True, stdin: str | None = None) -> str:
    return run("kubectl", "--namespace", NAMESPACE, *arguments, check=check, stdin=stdin)


def helm(*arguments: str, check: bool = True) -> str:
    return run("helm", "--namespace", NAMESPACE, *arguments, check=check)


def get(*arguments: str) -> Any:
    """What `kubectl get` finds; of several, the list of items."""
    found = json.loads(kubectl("get", *arguments, "--output=json"))
    return found.get("items", found)


def upgrade(*options: str) -> str:
    """Install or upgrade the release with the values of the tests."""
    return helm("upgrade", "--install", RELEASE, str(CHART), *(f"--values={file}" for file in VALUES), *options)


def wait_until(done: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """The first true answer. Fails after `patience` seconds, with the state of the pods."""
    limit = time.monotonic() + patience
    while not (answer := done()):
        assert time.monotonic() < limit, (
            f"{what}: not after {patience:.0f} s\n{kubectl('get', 'pods,jobs', check=False)}"
        )
        time.sleep(0.5)
    return answer


def pods(component: str, ending: bool = False) -> list[Any]:
    """The pods of a component that nobody has told to go; `ending`: those that go as well."""
    found = get("pods", f"--selector=app.kubernetes.io/component={component}")
    return [pod for pod in found if ending or "deletionTimestamp" not in pod["metadata"]]


def ready(component: str, count: int = 1) -> bool:
    """Whether exactly `count` pods of a component are there, all of them ready."""
    conditions = [
        {one["type"]: one["status"] for one in pod["status"].get("conditions", ())} for pod in pods(component)
    ]
    return len(conditions) == count and all(one.get("Ready") == "True" for one in conditions)


def all_ready(components: Sequence[str] = SERVICES) -> bool:
    return all(ready(component) for component in components)


def job(kind: str) -> Any:
    """The newest Job of a kind; None when there is none."""
    found = get("jobs", f"--selector=app.kubernetes.io/component={kind}")
    return max(found, key=lambda one: one["metadata"]["creationTimestamp"], default=None)


def complete(kind: str) -> bool:
    """Whether the newest Job of a kind has ended well. Fails the test when it has failed."""
    newest = job(kind)
    conditions = (
        {} if newest is None else {one["type"]: one["status"] for one in newest["status"].get("conditions", ())}
    )
    assert conditions.get("Failed") != "True", kubectl("logs", f"job/{newest['metadata']['name']}", "--all-containers")
    return conditions.get("Complete") == "True"


def roll(component: str) -> None:
    """Replace every pod of a Deployment, and wait until the old ones have ended."""
    kubectl("rollout", "restart", f"deployment/{RELEASE}-{component}")
    rolled_out(component)


def rolled_out(component: str, kind: str = "deployment") -> None:
    """Wait until every pod of a Deployment or StatefulSet is as its newest template says, and the others have ended."""
    kubectl("rollout", "status", f"{kind}/{RELEASE}-{component}", f"--timeout={PATIENCE:.0f}s")
    wait_until(lambda: len(pods(component, True)) == len(pods(component)), f"the end of old pods of {component}")


def delete_pod(component: str) -> None:
    """Delete a pod of a component, and wait until it has ended and another one is ready in its place."""
    victim = pods(component)[0]["metadata"]
    kubectl("delete", "pod", victim["name"], "--wait=false")

    def replaced() -> bool:
        return ready(component) and victim["uid"] not in {pod["metadata"]["uid"] for pod in pods(component, True)}

    wait_until(replaced, f"another {component} pod")


def restarts() -> dict[str, int]:
    """How often the containers of each pod were started again, where that is not never."""
    return {
        pod["metadata"]["name"]: count
        for pod in get("pods")
        if (count := sum(one["restartCount"] for one in pod["status"].get("containerStatuses", ())))
    }


def apply(path: Path, **replaced: str) -> None:
    """Apply a manifest of this folder with {{name}} replaced."""
    text = path.read_text()
    for name, value in replaced.items():
        text = text.replace(f"{{{{{name}}}}}", value)
    kubectl("apply", "--filename=-", stdin=text)
