"""What the chart renders, and the examples of the docs, by kubeconform, for each version of Kubernetes.

kubeconform and the kinds of operators come from Go modules; the first run takes some minutes.
"""

import json
import subprocess
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import go_modules
from tests.chart.conftest import CHARTS, VALUES, Resource, run_helm
from tests.chart.test_packaging import examples
from tests.chart.test_resources import KUBERNETES
from tests.servers import ROOT

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]

CHART = str(CHARTS / "recmesh")
KUBECONFORM = "github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0"
CRDS = {
    "github.com/argoproj/argo-cd/v3@v3.4.2": ("manifests/crds/application-crd.yaml",),
    "github.com/cert-manager/cert-manager@v1.21.2": ("deploy/crds/cert-manager.io_certificates.yaml",),
    "github.com/fluxcd/helm-controller@v1.4.0": ("config/crd/bases/helm.toolkit.fluxcd.io_helmreleases.yaml",),
    "github.com/fluxcd/source-controller@v1.8.0": ("config/crd/bases/source.toolkit.fluxcd.io_ocirepositories.yaml",),
    "github.com/kedacore/keda/v2@v2.21.0": ("config/crd/bases/keda.sh_scaledobjects.yaml",),
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": (
        "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
    ),
    "k8s.io/autoscaler/vertical-pod-autoscaler@v1.8.1": ("deploy/vpa-v1-crd-gen.yaml",),
    "sigs.k8s.io/gateway-api@v1.5.0": (
        "config/crd/standard/gateway.networking.k8s.io_backendtlspolicies.yaml",
        "config/crd/standard/gateway.networking.k8s.io_grpcroutes.yaml",
        "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",
    ),
}
"""The definitions of kinds that Kubernetes itself does not have, by module."""
SETS = {**VALUES, "operators": (str(ROOT / "tests/chart/operators-values.yaml"),)}
OF_OPERATORS = {
    "BackendTLSPolicy",
    "Certificate",
    "GRPCRoute",
    "HTTPRoute",
    "PodMonitor",
    "PrometheusRule",
    "ScaledObject",
    "ServiceMonitor",
    "VerticalPodAutoscaler",
}


@pytest.fixture(scope="module")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the schemas that kubeconform reads: VERSION/KIND.json, and crds/GROUP/KIND-VERSION.json."""
    folder = tmp_path_factory.mktemp("schemas")
    for version in KUBERNETES:
        _copy_schemas(version, folder / f"v{version}.0")
    for module, paths in CRDS.items():
        for path in paths:
            for name, schema in _custom_kinds((go_modules.source(module) / path).read_text()):
                file = folder / "crds" / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(json.dumps(schema))
    return folder


def _copy_schemas(version: str, folder: Path) -> None:
    """Copy the schemas of all kinds that are rendered, with references to the copy of the definitions."""
    folder.mkdir()
    kinds = {_schema_name(resource) for resource in rendered() if resource["kind"] not in OF_OPERATORS}
    for name in ("_definitions", *sorted(kinds)):
        source = files("kubernetes_validate") / f"kubernetes-json-schema/v{version}.0-local-strict/{name}.json"
        schema = json.loads(source.read_text().replace("/api/_definitions.json#", "_definitions.json#"))
        del schema["$id"]
        (folder / f"{name}.json").write_text(json.dumps(schema))


def _schema_name(resource: Resource) -> str:
    """The name that the schema of a kind has, such as deployment-apps-v1."""
    return "-".join([resource["kind"].lower(), *(part.partition(".")[0] for part in resource["apiVersion"].split("/"))])


@cache
def rendered() -> list[Resource]:
    """Everything that the sets of values render."""
    texts = (manifests(values, KUBERNETES[0]) for values in SETS)
    return [resource for text in texts for resource in yaml.load_all(text, yaml.CSafeLoader) if resource]


def manifests(values: str, version: str) -> str:
    """What helm renders for a set of values and a version of Kubernetes."""
    options = [f"--values={file}" for file in SETS[values]]
    versions = ["--api-versions=monitoring.coreos.com/v1", f"--kube-version={version}"]
    result = run_helm("template", "shop", CHART, "--namespace=prod", *versions, *options)
    assert result.returncode == 0, result.stderr
    return result.stdout


def _custom_kinds(definitions: str) -> Iterator[tuple[str, Any]]:
    """Yield a path and a schema for each version of each kind."""
    for definition in yaml.safe_load_all(definitions):
        spec = definition["spec"]
        for version in spec["versions"]:
            name = f"{spec['group']}/{spec['names']['singular']}-{version['name']}.json"
            yield name, _strict(version["schema"]["openAPIV3Schema"])


def _strict(schema: Any) -> Any:
    """Refuse fields that the definition does not have, as the API server does with strict validation."""
    if isinstance(schema, list):
        return [_strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {key: _strict(part) for key, part in schema.items()}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        strict.setdefault("additionalProperties", False)
    return strict


def problems(manifests: str, schemas: Path, version: str) -> list[str]:
    """What kubeconform finds: a line for each resource that is not valid, or whose kind has no schema."""
    locations = (
        f"{schemas}/v{version}.0/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json",
        f"{schemas}/crds/{{{{.Group}}}}/{{{{.ResourceKind}}}}-{{{{.ResourceAPIVersion}}}}.json",
    )
    options = [f"-schema-location={location}" for location in locations]
    command = [go_modules.program(KUBECONFORM), "-strict", f"-kubernetes-version={version}.0", *options]
    result = subprocess.run(command, input=manifests, capture_output=True, text=True, check=False)
    assert result.stderr == ""
    return result.stdout.splitlines()


@pytest.mark.parametrize("version", KUBERNETES)
def test_every_set_of_values_is_valid(version: str, schemas: Path) -> None:
    everything = "\n---\n".join(manifests(values, version) for values in SETS)
    assert problems(everything, schemas, version) == []


@pytest.mark.parametrize("version", KUBERNETES)
def test_helm_lint_has_nothing_to_say(version: str) -> None:
    for files_of_set in SETS.values():
        options = [f"--values={file}" for file in files_of_set]
        lint = run_helm("lint", "--strict", CHART, f"--kube-version={version}", *options)
        assert lint.stdout.splitlines() == [f"==> Linting {CHART}", "", "1 chart(s) linted, 0 chart(s) failed"]
        assert (lint.returncode, lint.stderr) == (0, "")


def test_every_kind_of_an_operator_is_rendered() -> None:
    assert {resource["kind"] for resource in rendered()} >= OF_OPERATORS


@pytest.mark.parametrize(
    ("kind", "path", "field"),
    [("Deployment", "spec", "replica"), ("ScaledObject", "spec", "minReplicas"), ("Certificate", "spec", "issuer")],
)
def test_a_field_that_a_kind_does_not_have_is_found(kind: str, path: str, field: str, schemas: Path) -> None:
    resource = next(resource for resource in rendered() if resource["kind"] == kind)
    changed = {**resource, path: {**resource[path], field: 1}}
    (line,) = problems(yaml.safe_dump(changed), schemas, KUBERNETES[-1])
    assert f"{kind} {resource['metadata']['name']} is invalid" in line
    assert f"additional properties '{field}' not allowed" in line


def test_a_kind_without_a_schema_is_found(schemas: Path) -> None:
    unknown = "apiVersion: example.com/v1\nkind: Unknown\nmetadata: {name: one}\n"
    (line,) = problems(unknown, schemas, KUBERNETES[-1])
    assert "could not find schema for Unknown" in line


def test_the_examples_for_gitops_are_valid(schemas: Path) -> None:
    assert set(examples()) == {"Application", "OCIRepository", "HelmRelease"}
    assert problems(yaml.safe_dump_all(examples().values()), schemas, KUBERNETES[-1]) == []
