"""The chart as helm renders it, once for each set of values."""

import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.servers import ROOT

CHARTS = ROOT / "charts"
VALUES: dict[str, tuple[str, ...]] = {
    "default": (),
    "local": (str(CHARTS / "recmesh/values-local.yaml"),),
    "all": (str(CHARTS / "recmesh/ci/all-values.yaml"),),
    "external": (str(CHARTS / "recmesh/ci/external-values.yaml"),),
}
"""The files of each set of values."""

Resource = dict[str, Any]


def helm() -> str:
    """The helm of RECMESH_HELM, of `make helm` or of the path."""
    found = os.environ.get("RECMESH_HELM") or shutil.which(ROOT / ".venv/bin/helm") or shutil.which("helm")
    assert found, "helm is missing: run `make helm`"
    return found


def run_helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run helm and capture its output."""
    return subprocess.run([helm(), *arguments], capture_output=True, text=True, check=False)


def copy_chart(root: Path) -> Path:
    """Copy the chart, and what `make values` needs, into a folder. Returns the folder of the chart."""
    for folder in ("charts", "docker"):
        shutil.copytree(ROOT / folder, root / folder, dirs_exist_ok=True)
    for folder in ("docs", "recmesh"):
        (root / folder).mkdir()
    shutil.copy(ROOT / "recmesh/__init__.py", root / "recmesh")
    return root / "charts" / "recmesh"


def render(values: str = "default", *options: str) -> list[Resource]:
    """All resources of an installation `shop` in the namespace `prod`, including tests and hooks."""
    return list(_rendered(VALUES[values], options))


def given(**values: Any) -> str:
    """The option of helm that sets values of any type."""
    return f"--set-json={json.dumps(values)}"


def refused(*options: str) -> str:
    """The error of helm for invalid values."""
    result = run_helm("template", "shop", str(CHARTS / "recmesh"), *options)
    assert result.returncode, "helm accepted the values"
    return result.stderr


@cache
def _rendered(files: tuple[str, ...], options: tuple[str, ...]) -> tuple[Resource, ...]:
    values = [f"--values={file}" for file in files]
    result = run_helm("template", "shop", str(CHARTS / "recmesh"), "--namespace=prod", *values, *options)
    assert result.returncode == 0, result.stderr
    return tuple(resource for resource in yaml.load_all(result.stdout, yaml.CSafeLoader) if resource)


def find(resources: list[Resource], kind: str, name: str) -> Resource:
    """The only resource of a kind whose name starts with shop-<name>."""
    of_kind = [resource for resource in resources if resource["kind"] == kind]
    found = [resource for resource in of_kind if resource["metadata"]["name"].startswith(f"shop-{name}")]
    assert len(found) == 1, (kind, name, [resource["metadata"]["name"] for resource in of_kind])
    return found[0]


def pod_templates(resources: list[Resource]) -> dict[str, Resource]:
    """All pod templates (metadata and spec), by kind/name of their resources."""
    found = {}
    for resource in resources:
        spec = resource.get("spec", {})
        if resource["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        template = resource if resource["kind"] == "Pod" else spec.get("template")
        if template and resource["kind"] != "NetworkPolicy":
            found[f"{resource['kind']}/{resource['metadata']['name']}"] = template
    return found


def containers(template: Resource) -> list[Resource]:
    """All containers of a pod template, including init containers."""
    return [*template["spec"].get("initContainers", ()), *template["spec"]["containers"]]


def environment(container: Resource) -> dict[str, Any]:
    """The variables of a container: values, Secret and key, or the field of the pod."""
    return {variable["name"]: _value(variable) for variable in container.get("env") or ()}


def _value(variable: Resource) -> Any:
    if "value" in variable:
        return variable["value"]
    source = variable["valueFrom"]
    if "fieldRef" in source:
        return source["fieldRef"]["fieldPath"]
    return source["secretKeyRef"]["name"], source["secretKeyRef"]["key"]
