"""The exact resources of an installation for each set of values, and their validity for Kubernetes."""

import json
from functools import cache
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
import referencing

from charts.observability.dashboards import ALL
from tests.chart.conftest import CHARTS, VALUES, Resource, render, run_helm

OLDEST = 28
KUBERNETES = [
    f"1.{minor}"
    for minor in sorted(
        int(folder.name.split(".")[1])
        for folder in (files("kubernetes_validate") / "kubernetes-json-schema").iterdir()
        if folder.name.endswith("-local-strict")
    )
    if minor >= OLDEST
]
"""Versions of Kubernetes, from the oldest that Chart.yaml admits to the newest that has schemas here."""
SERVICES = {"um", "cm", "recall", "rank", "as", "feed"}

BASE = {
    *(
        (kind, name)
        for kind in ("StatefulSet", "Service", "ConfigMap", "NetworkPolicy")
        for name in ("redis", "milvus")
    ),
    *(("Service", name) for name in SERVICES),
    *((kind, name) for kind in ("Job", "NetworkPolicy") for name in ("train", "ingest")),
    *((kind, "archive") for kind in ("CronJob", "NetworkPolicy")),
    ("ConfigMap", "jobs"),
    ("PersistentVolumeClaim", "model-store"),
    *(("Pod", f"test-{name}") for name in SERVICES),
    ("ServiceAccount", "services"),
    *(
        (kind, "controller")
        for kind in ("Deployment", "Service", "NetworkPolicy", "Role", "RoleBinding", "ServiceAccount")
    ),
    ("ConfigMap", "policy"),
    ("ConfigMap", "secrets-spec"),
    *((kind, "secrets") for kind in ("Job", "CronJob", "NetworkPolicy", "Role", "RoleBinding", "ServiceAccount")),
}


def workload(component: str) -> set[tuple[str, str]]:
    return {(kind, component) for kind in ("Deployment", "PodDisruptionBudget", "NetworkPolicy")}


DEFAULT = BASE.union(*map(workload, SERVICES))
COMPACT = BASE | workload("compact") | workload("feed")
EXPECTED = {
    "default": DEFAULT,
    "local": COMPACT,
    "external": {(kind, name) for kind, name in COMPACT if name not in ("redis", "milvus", "model-store")}
    | {("HorizontalPodAutoscaler", "compact")},
    "all": DEFAULT
    | workload("paddle-serving")
    | {("HorizontalPodAutoscaler", name) for name in (*SERVICES, "paddle-serving")}
    | {(kind, "explorer") for kind in ("Deployment", "Service", "NetworkPolicy")}
    | {(kind, "launcher") for kind in ("Role", "RoleBinding", "ServiceAccount")}
    | {(kind, "retrain") for kind in ("CronJob", "NetworkPolicy")}
    | {
        *(("ConfigMap", f"dashboard-{name}") for name in ALL),
        ("NetworkPolicy", "import"),
        ("PersistentVolumeClaim", "dataset"),
        ("PriorityClass", "jobs"),
        ("PriorityClass", "serving"),
        ("Service", "paddle-serving"),
    },
}

ARCHIVE = {("CronJob", "archive"), ("NetworkPolicy", "archive")}


def named(resource: Resource) -> tuple[str, str]:
    """Kind and name, without the prefix of the release and the hash of a Job."""
    kind, name = resource["kind"], resource["metadata"]["name"]
    name = name.removeprefix("prod-").removeprefix("shop-")
    return kind, name.rpartition("-")[0] if kind == "Job" else name


@pytest.mark.parametrize("values", VALUES)
def test_an_installation_has_exactly_these_resources(values: str) -> None:
    resources = [named(resource) for resource in render(values)]
    assert sorted(resources) == sorted(EXPECTED[values])


@pytest.mark.parametrize(
    ("option", "missing"),
    [
        ("archive.enabled=false", ARCHIVE),
        ("feed.enabled=false", ARCHIVE | workload("feed") | {("Service", "feed"), ("Pod", "test-feed")}),
    ],
)
def test_without_feed_or_the_archive_there_is_no_archiver(option: str, missing: set[tuple[str, str]]) -> None:
    resources = [named(resource) for resource in render("default", f"--set={option}")]
    assert sorted(resources) == sorted(DEFAULT - missing)


@cache
def validator(version: str, kind: str, api_version: str) -> Any:
    """A validator for a kind of resource in a version of Kubernetes, for which unknown fields are errors."""
    definitions = _schema(version, "_definitions.json")
    group = api_version.split("/")
    short = "-".join([group[0].split(".")[0], *group[1:]])
    schema = _schema(version, f"{kind.lower()}-{short}.json")
    resources = [referencing.Resource.from_contents(contents) for contents in (schema, definitions)]
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
def test_every_resource_is_valid_for_kubernetes(values: str, version: str) -> None:
    problems = [
        f"{resource['kind']} {resource['metadata']['name']}: {error.json_path}: {error.message[:200]}"
        for resource in render(values, f"--kube-version={version}")
        for error in validator(version, resource["kind"], resource["apiVersion"]).iter_errors(resource)
    ]
    assert problems == []


def test_helm_lint_has_nothing_to_say() -> None:
    chart = str(CHARTS / "recmesh")
    lint = run_helm("lint", "--strict", chart)
    assert (lint.returncode, lint.stderr) == (0, "")
    assert lint.stdout.splitlines() == [f"==> Linting {chart}", "", "1 chart(s) linted, 0 chart(s) failed"]


def test_no_variable_is_set_twice() -> None:
    for resource in render("all") + render("external"):
        for container in _containers(resource):
            names = [variable["name"] for variable in container.get("env") or ()]
            assert len(names) == len(set(names)), (resource["metadata"]["name"], container["name"])


def _containers(value: Any) -> list[Resource]:
    """Everything that looks like a container, at any depth."""
    if isinstance(value, dict):
        own = [value] if "image" in value else []
        return own + [found for child in value.values() for found in _containers(child)]
    return [found for child in value for found in _containers(child)] if isinstance(value, list) else []
