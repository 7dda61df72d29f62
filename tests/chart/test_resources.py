"""What an installation consists of: the exact set of resources for each set of values, valid for Kubernetes."""

import json
from functools import cache
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
import referencing

from tests.chart.conftest import VALUES, Resource, chart_path, render, run_helm

KUBERNETES = ("1.28", "1.31", "1.34")
SERVICES = {"um", "cm", "recall", "rank", "as"}

BASE = {
    *(
        (kind, name)
        for kind in ("StatefulSet", "Service", "ConfigMap", "NetworkPolicy")
        for name in ("redis", "milvus")
    ),
    *(("Service", name) for name in SERVICES),
    *((kind, name) for kind in ("Job", "NetworkPolicy") for name in ("train", "ingest")),
    ("ConfigMap", "jobs"),
    ("PersistentVolumeClaim", "model-store"),
    *(("Pod", f"test-{name}") for name in ("rank", "new-user", "user-0")),
    ("ServiceAccount", "services"),
}


def of(component: str) -> set[tuple[str, str]]:
    return {(kind, component) for kind in ("Deployment", "PodDisruptionBudget", "NetworkPolicy")}


DEFAULT = BASE.union(*map(of, SERVICES))
COMPACT = BASE | of("compact")
EXPECTED = {
    "default": DEFAULT,
    "local": COMPACT,
    "external": {(kind, name) for kind, name in COMPACT if name not in ("redis", "milvus", "model-store")}
    | {("HorizontalPodAutoscaler", "compact")},
    "all": DEFAULT
    | of("paddle-serving")
    | {("HorizontalPodAutoscaler", name) for name in (*SERVICES, "paddle-serving")}
    | {(kind, "launcher") for kind in ("Role", "RoleBinding", "ServiceAccount")}
    | {(kind, "retrain") for kind in ("CronJob", "NetworkPolicy")}
    | {
        ("NetworkPolicy", "import"),
        ("PersistentVolumeClaim", "dataset"),
        ("PriorityClass", "jobs"),
        ("PriorityClass", "serving"),
        ("Service", "paddle-serving"),
    },
}


def named(resource: Resource) -> tuple[str, str]:
    """Kind and name, without the release and without the hash of a Job."""
    kind, name = resource["kind"], resource["metadata"]["name"]
    name = name.removeprefix("prod-").removeprefix("shop-")
    return kind, name.rpartition("-")[0] if kind == "Job" else name


@pytest.mark.parametrize("values", VALUES)
def test_an_installation_is_exactly_this(values: str) -> None:
    resources = [named(resource) for resource in render(values)]
    assert sorted(resources) == sorted(EXPECTED[values])


@cache
def validator(version: str, kind: str, api_version: str) -> Any:
    """Of the schema of one kind of resource, as Kubernetes of that version has it; unknown fields are errors."""
    definitions = _schema(version, "_definitions.json")
    group = api_version.split("/")
    short = "-".join([group[0].split(".")[0], *group[1:]])
    schema = _schema(version, f"{kind.lower()}-{short}.json")
    resources = [referencing.Resource.from_contents(one) for one in (schema, definitions)]
    registry: Any = referencing.Registry()
    for resource in resources:
        registry = resource @ registry
    return jsonschema.Draft202012Validator(schema, registry=registry)


@cache
def _schema(version: str, name: str) -> Any:
    folder = files("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}.0-local-strict"
    return json.loads((folder / name).read_text())


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("values", ["all", "external"])
def test_kubernetes_takes_every_resource(values: str, version: str) -> None:
    problems = [
        f"{resource['kind']} {resource['metadata']['name']}: {error.json_path}: {error.message[:200]}"
        for resource in render(values)
        for error in validator(version, resource["kind"], resource["apiVersion"]).iter_errors(resource)
    ]
    assert problems == []


@pytest.mark.parametrize("chart", ["recmesh", "redis", "milvus"])
def test_helm_finds_nothing_to_complain_about(chart: str) -> None:
    lint = run_helm("lint", "--strict", str(chart_path(chart)))
    assert lint.returncode == 0, lint.stdout


@pytest.mark.parametrize("chart", ["redis", "milvus"])
def test_a_subchart_installs_alone(chart: str) -> None:
    kinds = {named(resource) for resource in render("default", chart=chart)}
    assert kinds == {(kind, chart) for kind in ("ConfigMap", "NetworkPolicy", "Service", "StatefulSet")}


def test_no_key_of_an_environment_comes_twice() -> None:
    for resource in render("all") + render("external"):
        for container in _containers(resource):
            names = [variable["name"] for variable in container.get("env") or ()]
            assert len(names) == len(set(names)), (resource["metadata"]["name"], container["name"])


def _containers(value: Any) -> list[Resource]:
    """Whatever looks like a container, however deep."""
    if isinstance(value, dict):
        own = [value] if "image" in value else []
        return own + [found for one in value.values() for found in _containers(one)]
    return [found for one in value for found in _containers(one)] if isinstance(value, list) else []
