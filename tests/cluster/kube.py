"""kubectl and helm with the current context."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tests.servers import ROOT

T = TypeVar("T")

NAMESPACE = os.environ.get("RECMESH_CLUSTER_NAMESPACE", "recmesh-test")
RELEASE = "recmesh"
CHART = ROOT / "charts" / "recmesh"
VALUES = [
    str(ROOT / "tests" / "cluster" / "values.yaml"),
    *(
        [str(ROOT / "tests" / "cluster" / "substitutes.yaml")]
        if os.environ.get("RECMESH_CLUSTER_STORES") == "1"
        else []
    ),
    *filter(None, os.environ.get("RECMESH_CLUSTER_VALUES", "").split(",")),
]
SERVICES = ("um", "cm", "recall", "rank", "as", "feed")

# Generous, since the two cores of a test machine may be busy.
TIMEOUT_SECONDS = float(os.environ.get("RECMESH_CLUSTER_PATIENCE", "900"))


def run(*command: str, check: bool = True, stdin: str | None = None) -> str:
    """Run a command. Returns its standard output; fails the test with its standard error."""
    result = subprocess.run(command, capture_output=True, text=True, check=False, input=stdin)
    assert result.returncode == 0 or not check, f"{' '.join(command)}: {result.stderr or result.stdout}"
    return result.stdout


def refused(*command: str) -> str:
    """Run a command in the namespace of the tests, which must fail. Returns its standard error."""
    program, *arguments = command
    result = subprocess.run(
        [program, "--namespace", NAMESPACE, *arguments], capture_output=True, text=True, check=False
    )
    assert result.returncode != 0, f"{' '.join(command)}: {result.stdout}"
    return result.stderr


def kubectl(*arguments: str, check: bool = True, stdin: str | None = None) -> str:
    """Run kubectl in the namespace of the tests."""
    return run("kubectl", "--namespace", NAMESPACE, *arguments, check=check, stdin=stdin)


def helm(*arguments: str, check: bool = True) -> str:
    """Run helm in the namespace of the tests."""
    return run("helm", "--namespace", NAMESPACE, *arguments, check=check)


def get(*arguments: str) -> Any:
    """The result of `kubectl get`: a resource, or a list of resources."""
    found = json.loads(kubectl("get", *arguments, "--output=json"))
    return found.get("items", found)


def with_values(*options: str) -> list[str]:
    """The chart with the values of the tests, as arguments of helm."""
    return [str(CHART), *(f"--values={file}" for file in VALUES), *options]


def upgrade(*options: str, release: str = RELEASE) -> str:
    """Install or upgrade a release with the values of the tests."""
    return helm("upgrade", "--install", release, *with_values(*options))


def revision(release: str = RELEASE) -> int:
    """The number of the newest revision of a release."""
    return int(json.loads(helm("history", release, "--output=json"))[-1]["revision"])


def wait_until(done: Callable[[], T | None], what: str, seconds: float = TIMEOUT_SECONDS) -> T:
    """Call `done` until it returns a true value, and return that. Fails after `seconds` with the state of the pods."""
    limit = time.monotonic() + seconds
    while not (answer := done()):
        assert time.monotonic() < limit, (
            f"{what}: not within {seconds:.0f} s\n{kubectl('get', 'pods,jobs', check=False)}"
        )
        time.sleep(0.5)
    return answer


def of(release: str, component: str = "") -> str:
    """The option of kubectl that selects what belongs to a release, or to one of its components."""
    labels = f"app.kubernetes.io/instance={release}"
    return f"--selector={labels},app.kubernetes.io/component={component}" if component else f"--selector={labels}"


def pods(component: str, ending: bool = False, release: str = RELEASE) -> list[Any]:
    """Pods of a component; terminating pods only if `ending`."""
    found = get("pods", of(release, component))
    return [pod for pod in found if ending or "deletionTimestamp" not in pod["metadata"]]


def ready(component: str, count: int = 1, release: str = RELEASE) -> bool:
    """Whether a component has exactly `count` pods and all of them are ready."""
    conditions = [_conditions(pod) for pod in pods(component, release=release)]
    return len(conditions) == count and all(condition.get("Ready") == "True" for condition in conditions)


def all_ready(components: Sequence[str] = SERVICES) -> bool:
    """Whether all components have a single pod, which is ready."""
    return all(ready(component) for component in components)


def job(kind: str, release: str = RELEASE) -> Any:
    """The newest Job of a kind; None if there is none."""
    found = get("jobs", of(release, kind))
    return max(found, key=lambda job: str(job["metadata"]["creationTimestamp"]), default=None)


def complete(kind: str, release: str = RELEASE) -> bool:
    """Whether the newest Job of a kind is complete. Fails the test if the Job has failed."""
    newest = job(kind, release)
    return newest is not None and _completed(newest)


def run_scheduled(component: str, change: Callable[[Any], object] = lambda pod: None, release: str = RELEASE) -> str:
    """Run the job of a CronJob now, and delete it. Returns its log.

    Args:
        component: Whose CronJob.
        change: Changes the spec of the pod first.
        release: Of the CronJob.
    """
    name = f"{component}-{time.time_ns()}"
    source = f"--from=cronjob/{release}-{component}"
    manifest = json.loads(kubectl("create", "job", name, source, "--dry-run=client", "--output=json"))
    change(manifest["spec"]["template"]["spec"])
    kubectl("create", "--filename=-", stdin=json.dumps(manifest))
    wait_until(lambda: _completed(get("job", name)), f"the job {name}")
    log = kubectl("logs", f"job/{name}", "--all-containers")
    kubectl("delete", f"job/{name}", "--wait")
    return log


def _completed(job: Any) -> bool:
    """Whether a Job is complete. Fails the test if it has failed."""
    conditions = _conditions(job)
    assert conditions.get("Failed") != "True", kubectl("logs", f"job/{job['metadata']['name']}", "--all-containers")
    return conditions.get("Complete") == "True"


def _conditions(resource: Any) -> dict[str, str]:
    """Statuses of the conditions of a resource, by type."""
    return {condition["type"]: condition["status"] for condition in resource["status"].get("conditions", ())}


def roll(component: str) -> None:
    """Replace every pod of a Deployment, and wait until the old pods have ended."""
    kubectl("rollout", "restart", f"deployment/{RELEASE}-{component}")
    rolled_out(component)


def rolled_out(component: str, kind: str = "deployment") -> None:
    """Wait until all pods of a Deployment or StatefulSet match its newest template and the old pods have ended."""
    kubectl("rollout", "status", f"{kind}/{RELEASE}-{component}", f"--timeout={TIMEOUT_SECONDS:.0f}s")
    wait_until(lambda: len(pods(component, True)) == len(pods(component)), f"the end of old pods of {component}")


def delete_pod(component: str) -> None:
    """Delete a pod of a component, and wait until it has ended and its replacement is ready."""
    victim = pods(component)[0]["metadata"]
    kubectl("delete", "pod", victim["name"], "--wait=false")

    def replaced() -> bool:
        return ready(component) and victim["uid"] not in {pod["metadata"]["uid"] for pod in pods(component, True)}

    wait_until(replaced, f"another {component} pod")


def restarts() -> dict[str, int]:
    """Numbers of restarts of the containers that were restarted, by pod/container."""
    return {
        f"{pod['metadata']['name']}/{status['name']}": count
        for pod in get("pods")
        for status in pod["status"].get("containerStatuses", ())
        if (count := status["restartCount"])
    }


def apply(path: Path, **replaced: str) -> None:
    """Apply a manifest of this folder, with each {{name}} replaced."""
    text = path.read_text()
    for name, value in replaced.items():
        text = text.replace(f"{{{{{name}}}}}", value)
    kubectl("apply", "--filename=-", stdin=text)
