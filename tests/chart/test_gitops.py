"""What keeps `kubectl diff` and GitOps controllers quiet: nothing that Kubernetes drops, and stable checksums."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.conftest import CHARTS, VALUES, Resource, find, pod_templates, render, run_helm
from tests.chart.test_names import EVERYTHING, INSIDE, OPERATOR

KEPT = {"emptyDir", "namespaceSelector", "podSelector", "resources", "limits"}
"""Maps that mean something while they are empty."""
QUANTITIES = {"cpu", "memory", "storage", "sizeLimit", "nvidia.com/gpu"}


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Everything in a resource that has no parts."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not parts:
        yield path, value
    for key, part in parts:
        yield from leaves(part, f"{path}.{key}")


def unstable(resource: Resource) -> list[str]:
    """What the API server would drop, or store as something else."""
    found = []
    for path, value in leaves(resource):
        key = path.rpartition(".")[2]
        dropped = value is None or value == [] or (value == {} and key not in KEPT and not key.isdigit())
        if dropped or (value == "" and key != "group" and ".env." not in path):  # a variable may be empty
            found.append(f"{path}: {value!r}")
        if key in QUANTITIES and not isinstance(value, str | list | dict) and ".matchLabels" not in path:
            found.append(f"{path}: a number is stored as a string")
    return found


@pytest.mark.parametrize(
    ("values", "options"),
    [*((values, ()) for values in VALUES), ("all", (EVERYTHING, INSIDE, OPERATOR)), ("all", ("--set=mode=compact",))],
)
def test_no_resource_has_what_kubernetes_drops(values: str, options: tuple[str, ...]) -> None:
    resources = render(values, *options)
    problems = {
        resource["metadata"]["name"]: unstable(resource)
        for resource in resources
        if resource["kind"] not in ("ServiceMonitor", "PrometheusRule", "ConfigMap")
    }
    assert {name: found for name, found in problems.items() if found} == {}
    jobs = find(resources, "ConfigMap", "jobs")["data"]
    assert {name: unstable(yaml.safe_load(text)) for name, text in jobs.items()} == {name: [] for name in jobs}


def test_a_new_version_of_the_chart_restarts_no_store_and_no_secrets_job(tmp_path: Path) -> None:
    chart = tmp_path / "recmesh"
    shutil.copytree(CHARTS / "recmesh", chart)
    described = yaml.safe_load((chart / "Chart.yaml").read_text())
    (chart / "Chart.yaml").write_text(yaml.safe_dump({**described, "version": "99.0.0"}))
    result = run_helm("template", "shop", str(chart), "--namespace=prod")
    assert result.returncode == 0, result.stderr
    new = [resource for resource in yaml.load_all(result.stdout, yaml.CSafeLoader) if resource]
    assert find(new, "Deployment", "um")["metadata"]["labels"]["helm.sh/chart"] == "recmesh-99.0.0"
    assert pod_templates(new) == pod_templates([*render()]) | {
        name: template for name, template in pod_templates(new).items() if name.startswith("Pod/")
    }


def test_a_job_of_the_launcher_never_has_the_name_of_a_job_of_helm() -> None:
    for values in VALUES:
        resources = render(values)
        names = {resource["metadata"]["name"] for resource in resources if resource["kind"] == "Job"}
        for text in find(resources, "ConfigMap", "jobs")["data"].values():
            metadata = yaml.safe_load(text)["metadata"]
            assert "name" not in metadata and metadata["generateName"].endswith("-")
            # Kubernetes appends five characters, helm's names end with eight.
            assert metadata["generateName"] + "x" * 5 not in names
            assert all(
                len(name) != len(metadata["generateName"]) + 5 for name in names if metadata["generateName"] in name
            )
