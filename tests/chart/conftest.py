"""The chart rendered by helm, once for each set of values."""

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
    """RECMESH_HELM, that of `make helm`, or the one on the path."""
    found = os.environ.get("RECMESH_HELM") or shutil.which(ROOT / ".venv/bin/helm") or shutil.which("helm")
    assert found, "no helm: `make helm` fetches one"
    return found


def run_helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([helm(), *arguments], capture_output=True, text=True, check=False)


def render(values: str = "default", *options: str, chart: str = "recmesh") -> list[Resource]:
    """All resources that an installation named `shop` in the namespace `prod` consists of; tests and hooks included."""
    return list(_rendered(chart, VALUES[values], options))


def refused(*options: str) -> str:
    """What helm says when it refuses values."""
    result = run_helm("template", "shop", str(CHARTS / "recmesh"), *options)
    assert result.returncode, "helm took them"
    return result.stderr


@cache
def _rendered(chart: str, files: tuple[str, ...], options: tuple[str, ...]) -> tuple[Resource, ...]:
    values = [f"--values={file}" for file in files]
    result = run_helm("template", "shop", str(CHARTS / chart), "--namespace=prod", *values, *options)
    assert result.returncode == 0, result.stderr
    return tuple(resource for resource in yaml.load_all(result.stdout, yaml.CSafeLoader) if resource)


def find(resources: list[Resource], kind: str, name: str) -> Resource:
    """The resource of a kind whose name is, or begins with, shop-<name>."""
    found = [one for one in resources if one["kind"] == kind and one["metadata"]["name"].startswith(f"shop-{name}")]
    assert len(found) == 1, (kind, name, [one["metadata"]["name"] for one in resources if one["kind"] == kind])
    return found[0]


def pod_templates(resources: list[Resource]) -> dict[str, Resource]:
    """Every pod template (metadata and spec), by kind/name of what holds it."""
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
    """All containers of a pod template, those that run before the others included."""
    return [*template["spec"].get("initContainers", ()), *template["spec"]["containers"]]


def environment(container: Resource) -> dict[str, Any]:
    """The plain variables of a container, and for the others the Secret and key they come from."""
    return {
        one["name"]: one["value"]
        if "value" in one
        else tuple(one["valueFrom"]["secretKeyRef"][k] for k in ("name", "key"))
        for one in container.get("env") or ()
    }


def chart_path(name: str) -> Path:
    return CHARTS / name
