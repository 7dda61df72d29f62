"""Names: each is within the limit of its kind, is of this installation alone, and leads to what exists."""

import json
import re
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.conftest import (
    CHARTS,
    VALUES,
    Resource,
    containers,
    environment,
    find,
    given,
    pod_templates,
    render,
    run_helm,
)

CHART = CHARTS / "recmesh"
INSTANCE, COMPONENT = "app.kubernetes.io/instance", "app.kubernetes.io/component"
LIMITS = {"Job": 63, "CronJob": 52, "StatefulSet": 52, "Service": 63, "Deployment": 63, "Pod": 63}
"""Kubernetes appends to the names of CronJobs, and a hash to the label of the pods of a StatefulSet."""
ON = {"enabled": True}
EVERYTHING = given(
    ingress={**ON, "routes": [{"host": "a.example"}, {"host": "b.example", "service": "feed", "protocol": "http"}]},
    gateway={**ON, "parentRefs": [{"name": "public"}], "routes": [{"host": "a.example"}]},
    serviceAccount={"create": True},
    train={"serviceAccount": {"create": True}},
    ingest={"serviceAccount": {"create": True}, "extraVolumes": [{"name": "own", "emptyDir": {}}]},
    cm={"autoscaling": {**ON, "keda": ON}, "verticalAutoscaling": ON},
    external={"otlp": {"caSecret": "otlp-ca"}},
    networkPolicy={"metricsNamespaces": ["monitoring"]},
)
INSIDE = given(
    redis={"auth": {"existingSecret": ""}, "tls": {"existingSecret": ""}, "metrics": ON}, milvus={"metrics": ON}
)
OPERATOR = "--api-versions=monitoring.coreos.com/v1"
OF_OTHERS = {"store-credentials", "data-credentials", "otlp", "otlp-ca", "answers"}
"""Secrets and claims that all-values.yaml names."""


@cache
def installed(release: str, *options: str, chart: Path = CHART) -> tuple[Resource, ...]:
    """All resources of a release with everything on."""
    values = f"--values={VALUES['all'][0]}"
    return loaded(release, str(chart), values, EVERYTHING, INSIDE, OPERATOR, *options)


def loaded(release: str, *arguments: str) -> tuple[Resource, ...]:
    result = run_helm("template", release, "--namespace=prod", *arguments)
    assert result.returncode == 0, result.stderr
    return tuple(resource for resource in yaml.load_all(result.stdout, yaml.CSafeLoader) if resource)


def named(resources: tuple[Resource, ...], kind: str) -> dict[str, Resource]:
    return {found["metadata"]["name"]: found for found in resources if found["kind"] == kind}


def keys(resources: tuple[Resource, ...]) -> list[tuple[str, str]]:
    return [(resource["kind"], resource["metadata"]["name"]) for resource in resources]


def templates(resources: tuple[Resource, ...]) -> dict[str, Resource]:
    """The pod templates, with those of the Jobs that `recmesh job run` creates."""
    (jobs,) = [found for name, found in named(resources, "ConfigMap").items() if "train" in found["data"]]
    created = {f"created/{name}": yaml.safe_load(text)["spec"]["template"] for name, text in jobs["data"].items()}
    return {**pod_templates(list(resources)), **created}


def instance(resources: tuple[Resource, ...]) -> str:
    """What all pods of an installation have in their label."""
    (name,) = {template["metadata"]["labels"][INSTANCE] for template in pod_templates(list(resources)).values()}
    return str(name)


RELEASES = ["shop", "recmesh", "a" * 44, "b" * 45, f"{'c' * 34}-{'c' * 11}", "d" * 53]


@pytest.mark.parametrize("release", RELEASES, ids=lambda name: f"{name[0]}{len(name)}")
def test_every_name_is_within_the_limit_of_its_kind(release: str) -> None:
    resources = installed(release)
    assert len(resources) > 100
    assert sorted(set(keys(resources))) == sorted(keys(resources))
    for resource in resources:
        kind, name = resource["kind"], resource["metadata"]["name"]
        assert re.fullmatch("[a-z0-9]([a-z0-9-]*[a-z0-9])?", name), name
        assert len(name) <= LIMITS.get(kind, 253), (kind, name)
        for labels in (
            resource["metadata"]["labels"],
            resource.get("spec", {}).get("template", {}).get("metadata", {}),
        ):
            assert not [value for value in labels.values() if isinstance(value, str) and len(value) > 63], name
        assert name.startswith(("prod-" if kind == "PriorityClass" else "") + instance(resources)), name


@pytest.mark.parametrize("release", RELEASES, ids=lambda name: f"{name[0]}{len(name)}")
def test_every_selector_finds_the_pods_of_one_component(release: str) -> None:
    resources = installed(release)
    pods = {name: template["metadata"]["labels"] for name, template in templates(resources).items()}
    for kind, path in (
        ("Service", ("selector",)),
        ("Deployment", ("selector", "matchLabels")),
        ("StatefulSet", ("selector", "matchLabels")),
        ("NetworkPolicy", ("podSelector", "matchLabels")),
        ("PodDisruptionBudget", ("selector", "matchLabels")),
    ):
        for name, resource in named(resources, kind).items():
            selector = resource["spec"]
            for key in path:
                selector = selector[key]
            found = {labels[COMPONENT] for labels in pods.values() if selector.items() <= labels.items()}
            assert found == {selector[COMPONENT]}, (kind, name)
            if kind in ("Deployment", "StatefulSet"):
                assert selector.items() <= pods[f"{kind}/{name}"].items()


def references(template: Resource) -> Iterator[tuple[str, str]]:
    """Kind and name of everything that a pod refers to."""
    spec = template["spec"]
    if "serviceAccountName" in spec:
        yield "ServiceAccount", spec["serviceAccountName"]
    for volume in spec.get("volumes", ()):
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"]
        if "secret" in volume:
            yield "Secret", volume["secret"]["secretName"]
        if "persistentVolumeClaim" in volume:
            yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]
    for container in containers(template):
        yield from (("Secret", value[0]) for value in environment(container).values() if isinstance(value, tuple))


def made_secrets(resources: tuple[Resource, ...]) -> dict[str, Any]:
    """The Secrets that the Job makes, with what is in their certificate."""
    (spec,) = [json.loads(found["data"]["spec.json"]) for found in resources if "spec.json" in found.get("data", {})]
    certificates = {f"{spec['release']}-{name}-tls": value for name, value in spec["certificates"].items()}
    return {**certificates, **{f"{spec['release']}-{store}-auth": {} for store in ("redis", "milvus") if store in spec}}


@pytest.mark.parametrize("release", RELEASES, ids=lambda name: f"{name[0]}{len(name)}")
def test_every_reference_leads_to_what_exists(release: str) -> None:
    resources = installed(release)
    existing = {*keys(resources), *(("Secret", name) for name in made_secrets(resources))}
    for name, template in templates(resources).items():
        missing = {found for found in references(template) if found not in existing and found[1] not in OF_OTHERS}
        assert missing == set(), name
        volumes = [volume["name"] for volume in template["spec"].get("volumes", ())]
        assert len(set(volumes)) == len(volumes), name
        claimed = {"data"} if name.startswith("StatefulSet/") else set()
        for container in containers(template):
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            assert mounted <= {*volumes, *claimed}, (name, container["name"])
    for binding in named(resources, "RoleBinding").values():
        assert ("Role", binding["roleRef"]["name"]) in existing
        assert {(subject["kind"], subject["name"]) for subject in binding["subjects"]} <= existing
    for kind, key in (
        ("HorizontalPodAutoscaler", "scaleTargetRef"),
        ("ScaledObject", "scaleTargetRef"),
        ("VerticalPodAutoscaler", "targetRef"),
    ):
        for scaler in named(resources, kind).values():
            assert ("Deployment", scaler["spec"][key]["name"]) in existing
    for store in named(resources, "StatefulSet").values():
        assert ("Service", store["spec"]["serviceName"]) in existing


@pytest.mark.parametrize("release", RELEASES, ids=lambda name: f"{name[0]}{len(name)}")
def test_every_address_is_a_port_of_a_service_that_its_certificate_names(release: str) -> None:
    resources = installed(release)
    services, pods = named(resources, "Service"), templates(resources)
    secrets = made_secrets(resources)
    for name, service in services.items():
        (selected, *_) = [
            found
            for found in pods.values()
            if service["spec"]["selector"].items() <= found["metadata"]["labels"].items()
        ]
        ports = {
            port["name"]: port["containerPort"]
            for container in containers(selected)
            for port in container.get("ports", ())
        }
        for port in service["spec"]["ports"]:
            assert ports[port["targetPort"]] == port["port"], (name, port["name"])
    called: set[tuple[str, int]] = set()
    for template in pods.values():
        for container in containers(template):
            for variable, value in environment(container).items():
                if re.fullmatch(r"RECMESH_\w+_(TARGET|URL|URI)", variable):
                    address = re.fullmatch(r"(?:\w+:/+)?([^:/]+):(\d+)(?:/0)?", value)
                    assert address, (variable, value)
                    called.add((address[1], int(address[2])))
    assert len(called) == 11  # six services, two of them with HTTP, Paddle Serving, Redis and Milvus
    for host, port in called:
        service = services[host]
        assert port in [found["port"] for found in service["spec"]["ports"]], host
        component = service["spec"]["selector"][COMPONENT]
        assert {host, f"{host}.prod.svc"} <= set(secrets[f"{instance(resources)}-{component}-tls"]["dns"]), host
    backends = {
        path["backend"]["service"]["name"]
        for ingress in named(resources, "Ingress").values()
        for rule in ingress["spec"]["rules"]
        for path in rule["http"]["paths"]
    }
    assert backends == {f"{instance(resources)}-as-public", f"{instance(resources)}-feed-public"}
    assert backends <= services.keys()


def test_installations_share_no_name_and_no_selector() -> None:
    """Two in a namespace, with names of which one begins with the other, or that differ after the limit."""
    pairs = [("shop", "shop-b"), ("d" * 53, "d" * 52 + "e"), ("shop", "shop-as")]
    for first, second in pairs:
        one, other = installed(first), installed(second)
        assert set(keys(one)) & set(keys(other)) == set()
        assert instance(one) != instance(other)


def umbrella(tmp_path: Path, *aliases: str | None) -> Path:
    """A chart that depends on recmesh, under each alias."""
    parent = tmp_path / "umbrella"
    shutil.copytree(CHART, parent / "charts" / "recmesh")
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
    dependencies = [{"name": "recmesh", "version": version, **({"alias": alias} if alias else {})} for alias in aliases]
    chart = {"apiVersion": "v2", "name": "umbrella", "version": "1.0.0", "dependencies": dependencies}
    (parent / "Chart.yaml").write_text(yaml.safe_dump(chart))
    return parent


def of_chart(resources: tuple[Resource, ...], name: str) -> tuple[Resource, ...]:
    return tuple(found for found in resources if found["metadata"]["labels"]["app.kubernetes.io/name"] == name)


@pytest.mark.parametrize("release", ["shop", "eu", "eu-us", "d" * 53])
def test_an_umbrella_chart_installs_it_twice(release: str, tmp_path: Path) -> None:
    """Also if the name of the release holds an alias."""
    chart = umbrella(tmp_path, "eu", "us")
    values = given(**{"global": {"other": {"key": 1}, "storageClass": "fast"}, "eu": {"um": {"replicas": 2}}})
    resources = loaded(release, str(chart), values)
    eu, us = of_chart(resources, "eu"), of_chart(resources, "us")
    assert len(eu) + len(us) == len(resources)
    assert sorted(kind for kind, _ in keys(eu)) == sorted(resource["kind"] for resource in render())
    assert set(keys(eu)) & set(keys(us)) == set()
    assert instance(eu) != instance(us)
    if len(release) < 40:
        assert (instance(eu), instance(us)) == (f"{release}-eu", f"{release}-us")
        replicas = [named(found, "Deployment")[f"{instance(found)}-um"]["spec"]["replicas"] for found in (eu, us)]
        assert replicas == [2, 1]
    for found in (eu, us):
        claim = named(found, "PersistentVolumeClaim")[f"{instance(found)}-model-store"]
        assert claim["spec"]["storageClassName"] == "fast"


def test_a_dependency_without_an_alias_has_the_names_of_an_installation(tmp_path: Path) -> None:
    chart = umbrella(tmp_path, None)
    nulls = {"podSecurityContext": dict.fromkeys(("runAsUser", "runAsGroup", "fsGroup"))}
    resources = loaded("shop", str(chart))
    assert [*resources] == render()
    for values in ({"global": nulls}, {"recmesh": {"global": nulls}}):
        for name, template in pod_templates([*loaded("shop", str(chart), given(**values))]).items():
            assert not nulls["podSecurityContext"].keys() & template["spec"]["securityContext"].keys(), name


def test_an_umbrella_chart_may_have_a_condition(tmp_path: Path) -> None:
    """`enabled` below the chart is the usual path of a condition; helm hands it to the chart, too."""
    chart = umbrella(tmp_path, "eu", "us")
    definition = yaml.safe_load((chart / "Chart.yaml").read_text())
    for dependency in definition["dependencies"]:
        dependency["condition"] = f"{dependency['alias']}.enabled"
    (chart / "Chart.yaml").write_text(yaml.safe_dump(definition))
    for us in (True, False):
        resources = loaded("shop", str(chart), given(eu={"enabled": True}, us={"enabled": us}))
        assert bool(of_chart(resources, "us")) == us
        assert of_chart(resources, "eu")
    result = run_helm("template", "shop", str(CHART), "--set=enabled=false")
    assert "/enabled" in result.stderr


def test_name_overrides() -> None:
    def instances(*options: str) -> tuple[str, str]:
        deployment = find_deployment(render("default", *options))
        labels = deployment["metadata"]["labels"]
        assert deployment["metadata"]["name"] == f"{labels[INSTANCE]}-um"
        return labels[INSTANCE], labels["app.kubernetes.io/name"]

    assert instances() == ("shop", "recmesh")
    assert instances("--set=nameOverride=recs") == ("shop-recs", "recs")
    assert instances("--set=fullnameOverride=recs") == ("recs", "recmesh")
    assert instances("--set=fullnameOverride=recs", "--set=nameOverride=other") == ("recs", "other")
    assert instances("--set=nameOverride=shop") == ("shop-shop", "shop")


@pytest.mark.parametrize("name", ["no", "on", "null", "true", "y"])
def test_a_name_that_yaml_takes_for_something_else_stays_text(name: str) -> None:
    for namespace in (name, "2026"):
        rendered = run_helm("template", name, str(CHART), f"--namespace={namespace}").stdout
        resources = tuple(yaml.load_all(rendered, yaml.CSafeLoader))
        assert {resource["metadata"]["namespace"] for resource in resources} == {namespace}
        assert {resource["metadata"]["labels"][INSTANCE] for resource in resources} == {name}
        for template in templates(resources).values():
            assert template["metadata"]["labels"][INSTANCE] == name
        controller = named(resources, "Deployment")[f"{name}-controller"]["spec"]["template"]
        variables = environment(containers(controller)[0])
        assert (variables["RECMESH_RELEASE"], variables["RECMESH_NAMESPACE"]) == (name, namespace)


@pytest.mark.parametrize("name", ["2026-shop", "shop.eu"])
def test_a_name_that_no_service_may_have_is_refused(name: str) -> None:
    result = run_helm("template", name, str(CHART))
    assert f'fullnameOverride: set it, since the names of Services cannot begin with "{name}"' in result.stderr
    assert run_helm("template", name, str(CHART), "--set=fullnameOverride=shop").returncode == 0


def test_an_alias_that_no_service_may_have_is_refused(tmp_path: Path) -> None:
    result = run_helm("template", "shop", str(umbrella(tmp_path, "shopEU")))
    assert 'since the names of Services cannot begin with "shop-shopEU"' in result.stderr


def find_deployment(resources: list[Resource]) -> Resource:
    (found,) = [
        found for found in resources if found["kind"] == "Deployment" and found["metadata"]["labels"][COMPONENT] == "um"
    ]
    return found


def test_the_namespace_of_all_resources() -> None:
    resources = render("all", EVERYTHING, INSIDE, OPERATOR, "--set=namespaceOverride=recs")
    assert {found["metadata"]["namespace"] for found in resources if found["kind"] != "PriorityClass"} == {"recs"}
    for name, found in made_secrets(tuple(resources)).items():
        assert all(".prod" not in host for host in found.get("dns", ())), name
    for binding in named(tuple(resources), "RoleBinding").values():
        assert binding["subjects"][0]["namespace"] == "recs"
    assert {kind for kind, name in keys(tuple(resources)) if name.startswith("recs-shop-")} == {"PriorityClass"}


COMMON = given(
    commonLabels={"team": "search", "app.kubernetes.io/part-of": "platform"}, commonAnnotations={"example.com/a": "b"}
)


def test_common_labels_and_annotations_reach_every_resource_and_pod() -> None:
    arguments = [str(CHART), f"--values={VALUES['all'][0]}", EVERYTHING, INSIDE, OPERATOR, COMMON]
    text = run_helm("template", "shop", "--namespace=prod", *arguments).stdout
    resources = tuple(found for found in yaml.load_all(text, UniqueKeys) if found)
    for resource in resources:
        name = resource["metadata"]["name"]
        labels = resource["metadata"]["labels"]
        assert (labels["team"], labels["app.kubernetes.io/part-of"]) == ("search", "platform"), name
        assert resource["metadata"]["annotations"]["example.com/a"] == "b", name
    for name, template in templates(resources).items():
        labels = template["metadata"]["labels"]
        assert (labels["team"], labels["app.kubernetes.io/part-of"]) == ("search", "platform"), name
    for resource in resources:
        selector = str(resource.get("spec", {}).get("selector", {}))
        assert "team" not in selector and "part-of" not in selector, resource["metadata"]["name"]


class UniqueKeys(yaml.CSafeLoader):
    """Refuses a key that a map has twice, as kubectl does."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value]
        assert len(set(names)) == len(names), names
        return super().construct_mapping(node, deep)


def test_extra_objects_are_rendered() -> None:
    as_object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-notes"}, "data": {}}
    as_text = """\
{{- range list "a" "b" }}
---
apiVersion: v1
kind: Secret
metadata: {name: "{{ $.Release.Name }}-{{ . }}"}
stringData: {host: '{{ include "recmesh.name" (dict "root" $ "component" "um") }}'}
{{- end }}
"""
    resources = render("default", given(extraObjects=[as_object, as_text]))
    notes = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shop-notes"}, "data": {}}
    assert find(resources, "ConfigMap", "notes") == notes
    assert [find(resources, "Secret", name)["stringData"] for name in ("a", "b")] == [{"host": "shop-um"}] * 2
    assert len(resources) == len(render()) + 3
