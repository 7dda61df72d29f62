"""Everything about values follows from values.schema.yaml; a value may be missing or null."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import pytest
import yaml

from charts import values as charts_values
from recmesh.dataset import importers
from tests.chart.conftest import CHARTS, Resource, containers, find, given, refused, render, run_helm
from tests.known_settings import known

CHART = CHARTS / "recmesh"


def test_what_follows_from_the_schema_is_current() -> None:
    for path, content in charts_values.outputs().items():
        assert path.read_text() == content, f"{path.name}: run `make values`"


KEYS_DESCRIBED_ELSEWHERE = {"settings", "resources", "startup", "readiness", "liveness", "existingSecrets"}
"""docs/services.md describes the settings, Kubernetes resources and probes; `existingSecrets` has components."""


def described(name: str, part: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Each value of the JSON Schema with its description."""
    if part:  # an empty schema is a key of former charts
        yield name, part.get("description", "")
    if name.rpartition(".")[2] not in KEYS_DESCRIBED_ELSEWHERE:
        for key, nested in part.get("properties", {}).items():
            yield from described(f"{name}.{key}", nested)


def test_every_value_is_described_in_sentences() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    found = dict(pair for key, part in schema["properties"].items() for pair in described(key, part))
    assert len(found) > 500
    assert [name for name, text in found.items() if not text.endswith(".")] == []


@cache
def paths() -> tuple[str, ...]:
    """Every path that the schema describes."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    return tuple(name for key, part in schema["properties"].items() for name, _ in described(key, part))


def rendered_with(tmp_path: Path, values: dict[str, Any], *options: str) -> subprocess.CompletedProcess[str]:
    """Render with a file of values."""
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    return run_helm("template", "shop", str(CHART), "--namespace=prod", f"--values={file}", *options)


def nested(path: str, value: Any) -> dict[str, Any]:
    for key in reversed(path.split(".")):
        value = {key: value}
    return dict(value)


def batched(names: Iterable[str], size: int) -> Iterator[tuple[str, ...]]:
    """Tuples of up to `size` names."""
    remaining = iter(names)
    while batch := tuple(islice(remaining, size)):
        yield batch


def with_null(given: dict[str, Any], *names: str) -> dict[str, Any]:
    """Values with null at some paths, of which none is within another one."""
    changed: dict[str, Any] = json.loads(json.dumps(given))
    for path in names:
        at = changed
        *parents, last = path.split(".")
        for key in parents:
            at = at.setdefault(key, {})
        at[last] = None
    return changed


def failures(names: Sequence[str], tmp_path: Path) -> dict[str, str]:
    """The errors of helm by path: of each that alone may not be null, or of several that may not be null together."""
    result = rendered_with(tmp_path, with_null({}, *names))
    if not result.returncode:
        return {}
    half = len(names) // 2
    found = {**failures(names[:half], tmp_path), **failures(names[half:], tmp_path)} if half else {}
    return found or {" ".join(names): result.stderr.strip()}


def batches() -> list[tuple[str, ...]]:
    """All paths; those of a batch are equally deep, so that none is within another one."""

    def depth(path: str) -> int:
        return path.count(".")

    by_depth = groupby(sorted(paths(), key=depth), depth)
    return [batch for _, names in by_depth for batch in batched(names, 16)]


@pytest.mark.parametrize("names", batches(), ids=lambda names: names[0])
def test_values_may_be_null(names: tuple[str, ...], tmp_path: Path) -> None:
    """An empty key in a file of values is null, and has the default of the chart."""
    assert {path: error for path, error in failures(names, tmp_path).items() if path not in error} == {}


@pytest.mark.long
@pytest.mark.parametrize("values", ["default", "all"])
@pytest.mark.parametrize("shard", range(8))
def test_every_value_may_be_null_in_turn(shard: int, values: str, tmp_path: Path) -> None:
    file = yaml.safe_load((CHART / "ci/all-values.yaml").read_text()) if values == "all" else {}
    failed = {}
    for path in paths()[shard::8]:
        result = rendered_with(tmp_path, with_null(file, path))
        if result.returncode and path not in result.stderr:
            failed[path] = result.stderr.strip()
    assert failed == {}


@pytest.mark.parametrize("path", [path for path in paths() if "." not in path and path != "global"])
def test_a_block_that_is_null_has_its_defaults(path: str, tmp_path: Path) -> None:
    result = rendered_with(tmp_path, {path: None})
    assert result.returncode == 0, result.stderr
    assert list(yaml.load_all(result.stdout, yaml.CSafeLoader)) == list(render())


def resources_of(name: str, *options: str) -> Any:
    return containers(find(render("default", *options), "Deployment", name)["spec"]["template"])[0]["resources"]


def test_components_have_the_shared_values_unless_they_have_their_own() -> None:
    def replicas(*options: str) -> list[int]:
        resources = render("default", *options)
        return [find(resources, "Deployment", name)["spec"]["replicas"] for name in ("um", "rank", "as")]

    assert replicas("--set=service.replicas=3") == [3, 3, 3]
    assert replicas("--set=service.replicas=3", "--set=rank.replicas=2") == [3, 2, 3]
    assert replicas("--set=service.replicas=3", "--set=rank.replicas=0") == [3, 0, 3]
    assert replicas("--set=service.replicas=3", "--set=rank.replicas=null") == [3, 3, 3]

    def scratch(*options: str) -> list[str]:
        resources = render("default", *options)
        volumes = [find(resources, kind, name)["spec"] for kind, name in (("Job", "train"), ("Job", "ingest"))] + [
            find(resources, "CronJob", "archive")["spec"]["jobTemplate"]["spec"]
        ]
        return [
            volume["emptyDir"]["sizeLimit"]
            for spec in volumes
            for volume in spec["template"]["spec"]["volumes"]
            if volume["name"] == "home"
        ]

    assert scratch() == ["20Gi", "20Gi", "1Gi"]
    assert scratch("--set=job.scratch=50Gi") == ["50Gi", "50Gi", "1Gi"]
    assert scratch("--set=job.scratch=50Gi", "--set=train.scratch=80Gi") == ["80Gi", "50Gi", "1Gi"]


def test_maps_of_components_and_shared_ones_are_merged() -> None:
    assert resources_of("um") == {"requests": {"cpu": "100m", "memory": "96Mi"}, "limits": {"memory": "256Mi"}}
    assert resources_of("um", "--set=um.resources.limits.memory=1Gi", "--set=service.resources.requests.cpu=2") == {
        "requests": {"cpu": 2, "memory": "96Mi"},
        "limits": {"memory": "1Gi"},
    }
    assert resources_of("rank", "--set=service.resources.requests.cpu=2") == {
        "requests": {"cpu": "200m", "memory": "192Mi"},
        "limits": {"memory": "1Gi"},
    }


def test_null_removes_a_key_of_a_map_that_kubernetes_defines() -> None:
    assert "limits" not in resources_of("um", "--set=um.resources.limits=null")
    assert "limits" not in resources_of("um", "--set=service.resources.limits=null")
    assert resources_of("rank", "--set=rank.resources.limits.memory=null")["limits"] == {}
    probe = containers(
        find(render("default", "--set=um.probes.readiness.timeoutSeconds=null"), "Deployment", "um")["spec"]["template"]
    )[0]["readinessProbe"]
    assert (probe["periodSeconds"], "timeoutSeconds" in probe) == (2, False)


def test_null_removes_a_field_of_the_security_contexts_of_global() -> None:
    redis = {"podSecurityContext": {"fsGroup": None}, "securityContext": {"capabilities": None}}
    shared = {"podSecurityContext": {"runAsUser": None, "runAsGroup": 7}}
    resources = render("default", given(redis=redis, service=shared, train={"podSecurityContext": {"fsGroup": 8}}))

    def fields(kind: str, name: str) -> tuple[Any, ...]:
        pod = find(resources, kind, name)["spec"]["template"]["spec"]
        return tuple(pod["securityContext"].get(key) for key in ("runAsUser", "runAsGroup", "fsGroup"))

    assert fields("StatefulSet", "redis") == (1000, 0, None)
    assert fields("StatefulSet", "milvus") == fields("Deployment", "controller") == (1000, 0, 1000)
    assert fields("Deployment", "um") == fields("Deployment", "feed") == (None, 7, 1000)
    assert (fields("Job", "train"), fields("Job", "ingest")) == ((1000, 0, 8), (1000, 0, 1000))
    (container,) = containers(find(resources, "StatefulSet", "redis")["spec"]["template"])
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True}


def without(values: Any, path: str) -> None:
    *parents, last = path.split(".")
    for key in parents:
        values = values[key]
    del values[last]


def test_an_upgrade_that_keeps_the_values_of_a_former_chart_has_the_new_defaults(tmp_path: Path) -> None:
    """`helm upgrade --reuse-values` replaces values.yaml by the values of the release, which lack the new keys."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    for path in ("ingress", "gateway", "serviceAccount", "commonLabels", "networkPolicy.dns", "redis.metrics"):
        without(values, path)
    for path in ("global.tls", "security", "secrets", "as.expose", "service.probes", "global.containerSecurityContext"):
        without(values, path)
    values |= {"common": {"global": {}}, "redis": {**values["redis"], "global": {"tolerations": []}, "common": {}}}
    shutil.copytree(CHART, tmp_path / "recmesh")
    (tmp_path / "recmesh" / "values.yaml").write_text(yaml.safe_dump(values))
    result = run_helm("template", "shop", str(tmp_path / "recmesh"), "--namespace=prod")
    assert result.returncode == 0, result.stderr
    assert list(yaml.load_all(result.stdout, yaml.CSafeLoader)) == list(render())


REFUSED = {
    "settings.NONSENSE": ("--set=settings.NONSENSE=1", "/settings"),
    "log level": ("--set=settings.LOG_LEVEL=loud", "/settings/LOG_LEVEL"),
    "a setting of a component": ("--set=um.settings.NONSENSE=1", "/um/settings"),
    "no data set": ("--set=dataset.source=", "/dataset/source"),
    "a bucket without a name": ("--set=dataset.source=s3://", "/dataset/source"),
    "an unknown scheme": ("--set=dataset.source=ftp://x/y", "/dataset/source"),
    "schedule": ("--set=retrain.schedule=daily", "/retrain/schedule"),
    "schedule of four fields": ("--set=archive.schedule=0 3 * *", "/archive/schedule"),
    "redis": ("--set=external.redis.url=http://x", "/external/redis/url"),
    "milvus": ("--set=external.milvus.uri=x:19530", "/external/milvus/uri"),
    "model store": ("--set=modelStore.url=ftp://x", "/modelStore/url"),
    "archive": ("--set=archive.url=ftp://x", "/archive/url"),
    "otlp": ("--set=external.otlp.endpoint=collector:4317", "/external/otlp/endpoint"),
    "replicas": ("--set=um.replicas=-1", "/um/replicas"),
    "a key of a service": ("--set=um.replica=2", "/um"),
    "a key of a job": ("--set=train.scratchSize=2", "/train"),
    "a key of the chart": ("--set=replicas=2", "replicas"),
    "a name of 64 characters": (f"--set=nameOverride={'a' * 64}", "/nameOverride"),
    "a Secret of no component": ("--set=global.tls.existingSecrets.paddleServing=x", "/global/tls/existingSecrets"),
    "a namespace": ("--set=namespaceOverride=Shop_EU", "/namespaceOverride"),
    "a URL as the host of a route": (
        given(ingress={"enabled": True, "routes": [{"host": "https://shop.example/"}]}),
        "/ingress/routes/0/host",
    ),
    "digest": ("--set=um.image.digest=latest", "/um/image/digest"),
    "a size": ("--set=redis.persistence.size=abc", "/redis/persistence/size"),
    "scratch space": ("--set=job.scratch=lots", "/job/scratch"),
    "an amount of memory": ("--set=um.resources.limits.memory=1GB", "/um/resources/limits/memory"),
    "a key of resources": ("--set=train.resources.limit.memory=1Gi", "/train/resources"),
    "what a probe asks": ("--set=um.probes.startup.httpGet.port=1", "/um/probes/startup"),
    "a time of a probe": ("--set=um.probes.startup.periodSeconds=0", "/um/probes/startup/periodSeconds"),
}


@pytest.mark.parametrize(("option", "key"), REFUSED.values(), ids=REFUSED)
def test_the_schema_refuses_what_cannot_work_and_names_the_key(option: str, key: str) -> None:
    message = refused(option)
    assert "don't meet the specifications of the schema" in message
    assert re.search(rf"{key}\b", message), message


def test_global_is_open_to_other_charts() -> None:
    options = ("--set=global.other=1", "--set=global.security.allowInsecureImages=true")
    assert render("default", *options) == render()


def volumes_of(resources: list[Resource]) -> dict[str, Any]:
    claims = [found for found in resources if found["kind"] == "PersistentVolumeClaim"]
    templates = [
        (found["metadata"]["name"], claim)
        for found in resources
        if found["kind"] == "StatefulSet"
        for claim in found["spec"]["volumeClaimTemplates"]
    ]
    return {
        name: claim["spec"].get("storageClassName")
        for name, claim in (*((found["metadata"]["name"], found) for found in claims), *templates)
    }


def test_a_storage_class_of_all_volumes() -> None:
    options = ("--set=global.storageClass=fast", "--set=dataset.volume.enabled=true")
    every = ("shop-model-store", "shop-dataset", "shop-redis", "shop-milvus")
    assert volumes_of(render("default", *options)) == dict.fromkeys(every, "fast")
    own = render("default", *options, "--set=redis.persistence.storageClass=slow")
    assert volumes_of(own) == {**dict.fromkeys(every, "fast"), "shop-redis": "slow"}


OF_THE_CHART = re.compile(
    r"RECMESH_(HOST|HOME|MODEL_STORE|ARCHIVE|OTLP_ENDPOINT|RANK_BACKEND|ANSWER_\w+|AUDIT\w*|POLICY_FILE|TOKENS?_FILE|TOKEN"
    r"|JW\w+|REFLECTION|RELEASE|NAMESPACE|CHECK_INTERVAL|SECRETS_SPEC|TLS_\w+|\w+_PORT|\w+_TARGET|MILVUS_\w+|PADDLE_SERVING_(DEVICE|TOLERANCE)"
    r"|REDIS_(CA|PASSWORD|PASSWORD_FILE|PREFIX|URL|USERNAME))"
)
"""Settings that follow from other values."""


def test_the_settings_are_those_that_the_programs_read() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    accepted = {f"RECMESH_{name}" for name in schema["properties"]["settings"]["properties"]}
    assert accepted == {name for name in known() if not OF_THE_CHART.fullmatch(name)}
    of_rank = schema["properties"]["rank"]["properties"]["settings"]["properties"]
    assert of_rank == schema["properties"]["settings"]["properties"]


def test_jobs_may_connect_to_the_package_index_for_data_sets_that_are_downloaded() -> None:
    https = {"ports": [{"port": 443, "protocol": "TCP"}]}
    sources = ["ta_feng", "synthetic", "jdata:/mnt/shop"]
    opened = [
        https in find(render("default", f"--set=dataset.source={source}"), "NetworkPolicy", "train")["spec"]["egress"]
        for source in sources
    ]
    assert opened == [True, False, False]
    template = (CHART / "templates/_policies.tpl").read_text()
    (names,) = re.findall(r"has \$source \(list (.*?)\)", template)
    assert {name.strip('"') for name in names.split()} == set(importers._DOWNLOADS)
