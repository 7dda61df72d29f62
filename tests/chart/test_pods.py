"""Every pod template: placement, pull secrets, the restricted Pod Security Standard, probes and draining."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.chart.conftest import (
    CHARTS,
    VALUES,
    Resource,
    containers,
    environment,
    find,
    given,
    pod_templates,
    refused,
    render,
)

SERVICES = {"um": 8910, "cm": 8920, "recall": 8950, "rank": 8960, "as": 8930, "feed": 8940}
SCRAPE = "prometheus.io/scrape"
TLS_OFF = "--set=global.tls.enabled=false"
GLOBAL_OPTIONS = [
    '--set-json=global.nodeSelector={"pool":"a"}',
    '--set-json=global.tolerations=[{"key":"t","operator":"Exists"}]',
    '--set-json=global.imagePullSecrets=["pull"]',
    "--set=global.imageRegistry=registry.example/mirror",
    "--set=global.priorityClassName=important",
    '--set-json=global.affinity={"nodeAffinity":{}}',
]


@pytest.mark.parametrize("values", VALUES)
def test_global_values_reach_every_pod(values: str) -> None:
    for name, template in pod_templates(render(values, *GLOBAL_OPTIONS)).items():
        spec = template["spec"]
        assert spec["nodeSelector"]["pool"] == "a", name
        assert {"key": "t", "operator": "Exists"} in spec["tolerations"], name
        assert spec["imagePullSecrets"] == [{"name": "pull"}], name
        assert spec["priorityClassName"] in ("important", "as-priority"), name
        assert spec["affinity"] == {"nodeAffinity": {}}, name
        for container in containers(template):
            assert container["image"].startswith("registry.example/mirror/"), (name, container["name"])


@pytest.mark.parametrize(
    ("repository", "expected"),
    [("", "registry.example/um"), ("shop/", "registry.example/shop/um"), ("a/b", "registry.example/a/b/um")],
)
def test_images_may_be_anywhere_in_a_registry(repository: str, expected: str) -> None:
    option = given(image={"registry": "registry.example", "repository": repository, "tag": "v1"})
    (container,) = find(render("default", option), "Deployment", "um")["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"{expected}:v1"


@pytest.mark.parametrize(
    ("controller", "expected"),
    [
        ({}, f"ingest@sha256:{'a' * 64}"),
        ({"tag": "v2"}, "ingest:v2"),
        ({"digest": f"sha256:{'b' * 64}"}, f"ingest@sha256:{'b' * 64}"),
    ],
)
def test_the_controller_has_the_image_of_ingest_or_its_own(controller: dict[str, str], expected: str) -> None:
    option = given(ingest={"image": {"digest": f"sha256:{'a' * 64}"}}, controller={"image": controller})
    (container,) = find(render("default", option), "Deployment", "controller")["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"docker.io/recmesh/{expected}"


def test_extra_values_reach_every_pod() -> None:
    for name, template in pod_templates(render("all")).items():
        metadata, spec = template["metadata"], template["spec"]
        if not name.startswith("Pod/"):
            assert metadata["labels"]["team"] == "search", name
            assert metadata["annotations"]["example.com/owner"] == "search", name
            assert {"name": "extra", "emptyDir": {}} in spec["volumes"], name
            for container in containers(template):
                assert environment(container)["EXTRA"] == "1", (name, container["name"])
                assert {"name": "extra", "mountPath": "/extra"} in container["volumeMounts"], (name, container["name"])


def test_the_own_extra_values_of_a_component_replace_those_of_global() -> None:
    shared: dict[str, list[Any]] = {
        "extraEnv": [{"name": "A", "value": "1"}, {"name": "HTTPS_PROXY", "value": "a:1"}],
        "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}, {"name": "logs", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "ca", "mountPath": "/ca"}, {"name": "logs", "mountPath": "/logs"}],
    }
    own: dict[str, list[Any]] = {
        "extraEnv": [{"name": "HTTPS_PROXY", "value": "b:2"}],
        "extraVolumes": [{"name": "ca", "secret": {"secretName": "own"}}],
        "extraVolumeMounts": [{"name": "ca", "mountPath": "/ca", "subPath": "own"}],
    }
    rendered = render("default", given(**{"global": shared, "um": own, "train": own, "redis": own}))
    templates = pod_templates(rendered)
    for name, template in templates.items():
        replaced = template["metadata"]["labels"]["app.kubernetes.io/component"] in ("um", "train", "redis")
        volumes = [volume for volume in template["spec"]["volumes"] if volume["name"] in ("ca", "logs")]
        assert sorted(volumes, key=lambda volume: volume["name"]) == [
            (own if replaced else shared)["extraVolumes"][0],
            shared["extraVolumes"][1],
        ], name
        for container in containers(template):
            mounts = [mount for mount in container["volumeMounts"] if mount["name"] == "ca"]
            assert mounts == (own if replaced else shared)["extraVolumeMounts"][:1], name
            variables = [variable for variable in container["env"] if variable["name"] in ("A", "HTTPS_PROXY")]
            value = "b:2" if replaced else "a:1"
            assert variables == [{"name": "A", "value": "1"}, {"name": "HTTPS_PROXY", "value": value}], name


def test_the_own_annotations_of_a_component_replace_those_of_the_chart() -> None:
    option = given(
        **{"global": {"podAnnotations": {SCRAPE: "global"}}, "um": {"podAnnotations": {SCRAPE: "false"}}},
    )
    templates = pod_templates(render("default", option))
    found = {name: template["metadata"].get("annotations", {}) for name, template in templates.items()}
    assert found["Deployment/shop-um"][SCRAPE] == "false"
    assert found["Deployment/shop-cm"][SCRAPE] == "true"


@pytest.mark.parametrize("values", VALUES)
def test_every_pod_meets_the_restricted_standard(values: str) -> None:
    for name, template in pod_templates(render(values)).items():
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["securityContext"]["runAsGroup"] == 0, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), name
        assert not any("hostPath" in volume for volume in spec.get("volumes", ())), name
        for container in containers(template):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, (name, container["name"])


@pytest.mark.parametrize("values", VALUES)
def test_only_the_secrets_and_the_controller_have_a_service_account_token(values: str) -> None:
    for name, template in pod_templates(render(values)).items():
        assert template["spec"]["automountServiceAccountToken"] is (
            name.partition("/")[2].startswith(("shop-secrets", "shop-controller"))
        ), name
    bound = {resource["metadata"]["name"]: resource for resource in render(values) if resource["kind"] == "RoleBinding"}
    assert bound.keys() <= {"shop-launcher", "shop-secrets", "shop-controller"}
    for name, binding in bound.items():
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": name, "namespace": "prod"}]


@pytest.mark.parametrize("values", VALUES)
def test_every_container_has_requests_and_a_memory_limit(values: str) -> None:
    for name, template in pod_templates(render(values)).items():
        for container in containers(template):
            resources = container["resources"]
            assert {"cpu", "memory"} <= set(resources["requests"]), (name, container["name"])
            assert "memory" in resources["limits"], (name, container["name"])
            # A CPU limit would delay answers even while the CPU is idle.
            assert "cpu" not in resources["limits"], (name, container["name"])


@pytest.mark.parametrize("service", [*SERVICES, "compact"])
def test_a_missing_dependency_fails_readiness_but_not_liveness(service: str) -> None:
    template = find(render("local" if service == "compact" else "default"), "Deployment", service)["spec"]["template"]
    (container,) = template["spec"]["containers"]
    assert container["startupProbe"]["httpGet"] == container["livenessProbe"]["httpGet"] == probe("/livez")
    assert container["readinessProbe"]["httpGet"] == probe("/readyz")


def probe(path: str) -> Resource:
    return {"path": path, "port": "metrics", "scheme": "HTTPS"}


@pytest.mark.parametrize("service", SERVICES)
def test_a_pod_leaves_its_service_and_drains_before_it_ends(service: str) -> None:
    deployment = find(render("default"), "Deployment", service)["spec"]
    spec = deployment["template"]["spec"]
    (container,) = spec["containers"]
    assert container["lifecycle"]["preStop"]["exec"]["command"] == ["python", "-c", "import time; time.sleep(5)"]
    # Draining takes 0.3 s until clients know of it, and up to 10 s for calls in flight.
    assert spec["terminationGracePeriodSeconds"] > 5 + 0.3 + 10
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


@pytest.mark.parametrize("service", SERVICES)
def test_pods_of_a_service_are_spread(service: str) -> None:
    spec = find(render("default"), "Deployment", service)["spec"]["template"]["spec"]
    (term,) = spec["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    labels = {"app.kubernetes.io/instance": "shop", "app.kubernetes.io/component": service}
    assert term["podAffinityTerm"]["labelSelector"]["matchLabels"] == labels
    assert [constraint["topologyKey"] for constraint in spec["topologySpreadConstraints"]] == [
        "topology.kubernetes.io/zone"
    ]


def test_an_autoscaler_alone_sets_the_number_of_pods() -> None:
    resources = render("all")
    assert "replicas" not in find(resources, "Deployment", "recall")["spec"]
    scaler = find(resources, "HorizontalPodAutoscaler", "recall")["spec"]
    assert scaler["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop-recall"}


def test_services_are_headless_so_that_clients_balance_their_calls() -> None:
    for values, owner in (("default", None), ("local", "compact")):
        for service, port in SERVICES.items():
            spec = find(render(values), "Service", service)["spec"]
            assert spec["clusterIP"] == "None"
            assert spec.get("publishNotReadyAddresses", False) is (service not in ("as", "feed"))
            assert spec["selector"]["app.kubernetes.io/component"] == (
                service if service == "feed" else owner or service
            )
            assert {(entry["port"], entry["targetPort"]) for entry in spec["ports"]} >= {(port, service)}


def test_as_calls_the_stages_through_their_services() -> None:
    (container,) = find(render("default"), "Deployment", "as")["spec"]["template"]["spec"]["containers"]
    targets = {name: value for name, value in environment(container).items() if name.endswith("_TARGET")}
    assert targets == {
        f"RECMESH_{name.upper()}_TARGET": f"dns:///shop-{name}:{port}"
        for name, port in SERVICES.items()
        if name not in ("as", "feed")
    }


def test_as_logs_answers_to_a_volume_of_its_own_only_if_told_to() -> None:
    expected = {"RECMESH_ANSWER_SAMPLE": "0.05", "RECMESH_ANSWER_LOG": "/answers/log", "RECMESH_ANSWER_LOG_MIB": "256"}
    claim: Resource = {"persistentVolumeClaim": {"claimName": "answers"}}
    own: Resource = {"emptyDir": {}}
    for values, options, service, volume in (
        ("all", (), "as", claim),
        ("local", ("--set=answers.sample=0.05",), "compact", own),
        ("all", (), "recall", None),
        ("default", (), "as", None),
        ("default", ("--set-string=answers.sample=0",), "as", None),
        ("local", (), "compact", None),
    ):
        spec = find(render(values, *options), "Deployment", service)["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        variables = {name: text for name, text in environment(container).items() if name.startswith("RECMESH_ANSWER")}
        assert variables == (expected if volume else {}), (values, service)
        mounted = {"name": "answers", "mountPath": "/answers"} in container["volumeMounts"]
        assert mounted == bool(volume), (values, service)
        assert [found for found in spec["volumes"] if found["name"] == "answers"] == (
            [{"name": "answers", **volume}] if volume else []
        )


@pytest.mark.parametrize("values", ["default", "local"])
def test_feed_needs_redis_alone_and_is_installed_unless_disabled(values: str) -> None:
    (container,) = find(render(values), "Deployment", "feed")["spec"]["template"]["spec"]["containers"]
    assert container["name"] == "feed"
    assert container["image"].startswith("docker.io/recmesh/feed:")
    assert environment(container) == {
        "RECMESH_TLS_CERTIFICATE": "/etc/recmesh/tls/tls.crt",
        "RECMESH_TLS_KEY": "/etc/recmesh/tls/tls.key",
        "RECMESH_TLS_CA": "/etc/recmesh/tls/ca.crt",
        "RECMESH_TLS_CLIENT_AUTH": "require",
        "RECMESH_POLICY_FILE": "/etc/recmesh/policy/policy.yaml",
        "RECMESH_REFLECTION": "false",
        "RECMESH_REDIS_URL": "rediss://shop-redis:6380/0",
        "RECMESH_REDIS_USERNAME": "feed",
        "RECMESH_REDIS_PASSWORD_FILE": "/etc/recmesh/redis/password",
        "RECMESH_REDIS_PREFIX": "recmesh:",
    }
    assert container["ports"] == [{"name": "feed", "containerPort": 8940}, {"name": "metrics", "containerPort": 18940}]
    assert [mount["name"] for mount in container["volumeMounts"]] == ["tmp", "policy", "redis", "tls"]
    without = [resource["metadata"]["name"] for resource in render(values, "--set=feed.enabled=false")]
    assert "shop-um" in without
    assert "shop-feed" not in without


@pytest.mark.parametrize(
    ("values", "deployment", "service", "port"),
    [("default", "as", "as", 8931), ("local", "compact", "as", 8931), ("default", "feed", "feed", 8941)],
)
def test_the_http_port_is_open_only_where_it_is_enabled(values: str, deployment: str, service: str, port: int) -> None:
    variable = f"RECMESH_{service.upper()}_HTTP_PORT"
    for enabled in (False, True):
        resources = render(values, *([f"--set={service}.http.enabled=true"] if enabled else []))
        (container,) = find(resources, "Deployment", deployment)["spec"]["template"]["spec"]["containers"]
        assert environment(container).get(variable) == (str(port) if enabled else None)
        assert ({"name": f"{service}-http", "containerPort": port} in container["ports"]) is enabled
        entry = {"name": "http", "port": port, "targetPort": f"{service}-http", "appProtocol": "https"}
        assert (entry in find(resources, "Service", service)["spec"]["ports"]) is enabled
        assert not [name for name in environment(container) if name.endswith("_HTTP_PORT") and name != variable]


def test_other_services_have_no_http_port() -> None:
    for service in ("um", "cm", "recall", "rank", "compact"):
        assert f"at '/{service}': additional properties 'http' not allowed" in refused(
            f"--set={service}.http.enabled=true"
        )


def test_settings_of_feed_reach_its_pods() -> None:
    (container,) = find(render("all"), "Deployment", "feed")["spec"]["template"]["spec"]["containers"]
    assert environment(container)["RECMESH_EVENT_WINDOW"] == "7200"


@pytest.mark.parametrize(("values", "policy"), [("default", "everysec"), ("all", "always")])
def test_redis_writes_its_file_before_it_answers(values: str, policy: str) -> None:
    lines = find(render(values), "ConfigMap", "redis")["data"]["redis.conf"].splitlines()
    assert {"appendonly yes", f"appendfsync {policy}"} <= set(lines)


def test_the_explorer_finds_the_stages_and_only_reads_the_model_store() -> None:
    assert not any("explorer" in name for name in pod_templates(render("default")))
    (container,) = find(render("all"), "Deployment", "explorer")["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["recmesh", "explore", "--host", "::"]
    assert environment(container)["RECMESH_UM_TARGET"] == "dns:///shop-um:8910"
    assert {"name": "model-store", "mountPath": "/model-store", "readOnly": True} in container["volumeMounts"]


def test_as_reads_the_rules_in_the_model_store() -> None:
    spec = find(render("default"), "Deployment", "as")["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert environment(container)["RECMESH_MODEL_STORE"] == "/model-store"
    assert {"name": "model-store", "mountPath": "/model-store", "readOnly": True} in container["volumeMounts"]
    assert {"name": "model-store", "persistentVolumeClaim": {"claimName": "shop-model-store"}} in spec["volumes"]
    assert "home" not in {volume["name"] for volume in spec["volumes"]}
    url = ("--set=modelStore.url=s3://bucket/store", "--set=modelStore.secret=s3")
    spec = find(render("default", *url), "Deployment", "as")["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert environment(container)["RECMESH_MODEL_STORE"] == "s3://bucket/store"
    assert {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} <= {variable["name"] for variable in container["env"]}
    assert {volume["name"] for volume in spec["volumes"]} == {"tmp", "policy", "tls"}


def test_paddle_serving_runs_on_gpu_nodes() -> None:
    spec = find(render("all"), "Deployment", "paddle-serving")["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"  # a number would become a string in the cluster
    assert container["image"].startswith("registry.example/recmesh/paddle-serving-gpu:")
    assert spec["runtimeClassName"] == "nvidia"
    assert spec["nodeSelector"]["nvidia.com/gpu.present"] == "true"
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in spec["tolerations"]


@pytest.mark.parametrize(("installed", "backend"), [("false", "onnx"), ("true", "auto")])
def test_rank_restarts_when_paddle_serving_is_installed_or_removed(installed: str, backend: str) -> None:
    resources = render("default", f"--set=paddleServing.enabled={installed}")
    (container,) = find(resources, "Deployment", "rank")["spec"]["template"]["spec"]["containers"]
    assert environment(container)["RECMESH_RANK_BACKEND"] == backend


def test_no_pod_requests_a_gpu_by_default() -> None:
    assert not any("gpu" in str(template) for template in pod_templates(render("default")).values())


def logins(container: Resource) -> dict[str, Any]:
    """The variables of a container that say where the stores are and give users and passwords."""
    wanted = re.compile("RECMESH_(REDIS|MILVUS)_(UR[IL]|USERNAME|(ROOT_)?PASSWORD(_FILE)?|CA)")
    return {name: value for name, value in environment(container).items() if wanted.fullmatch(name)}


def test_passwords_and_ca_certificates_come_from_secrets() -> None:
    resources = render("all")
    inside = {
        "RECMESH_REDIS_URL": "rediss://shop-redis:6379/0",
        "RECMESH_REDIS_CA": "/etc/recmesh/redis-ca/ca.crt",
        "RECMESH_REDIS_PASSWORD": ("redis-password", "password"),
    }
    milvus = {"RECMESH_MILVUS_URI": "https://shop-milvus:19530"}
    searching = {
        "RECMESH_MILVUS_USERNAME": "recall",
        "RECMESH_MILVUS_PASSWORD_FILE": "/etc/recmesh/milvus/password",
    }
    writing = {
        "RECMESH_MILVUS_USERNAME": "ingest",
        "RECMESH_MILVUS_PASSWORD_FILE": "/etc/recmesh/milvus/ingest",
        "RECMESH_MILVUS_ROOT_PASSWORD_FILE": "/etc/recmesh/milvus/root",
    }
    for kind, name, expected in (
        ("Deployment", "um", inside),
        ("Deployment", "cm", inside),
        ("Deployment", "feed", inside),
        ("Deployment", "recall", {**inside, **milvus, **searching}),
        ("Deployment", "as", {}),
        ("Job", "ingest", {**inside, **milvus, **writing}),
    ):
        (container,) = find(resources, kind, name)["spec"]["template"]["spec"]["containers"]
        assert logins(container) == expected, name
    (compact,) = find(render("external"), "Deployment", "compact")["spec"]["template"]["spec"]["containers"]
    assert logins(compact) == {
        "RECMESH_REDIS_URL": ("stores", "redis"),
        "RECMESH_REDIS_USERNAME": ("redis-login", "username"),
        "RECMESH_REDIS_PASSWORD": ("redis-login", "password"),
        "RECMESH_REDIS_CA": "/etc/recmesh/redis-ca/ca.crt",
        "RECMESH_MILVUS_URI": ("stores", "milvus"),
        "RECMESH_MILVUS_PASSWORD": ("milvus-login", "token"),
        "RECMESH_MILVUS_CA": "/etc/recmesh/milvus-ca/ca.crt",
    }
    assert {mount["name"] for mount in compact["volumeMounts"]} >= {"redis-ca", "milvus-ca"}


def test_values_with_credentials_in_the_url_keep_working() -> None:
    names = ("redis.auth.existingSecret", "milvus.auth.existingSecret", "redis.caSecret", "milvus.caSecret")
    without = [f"--set=external.{name}=" for name in names]
    (compact,) = find(render("external", *without), "Deployment", "compact")["spec"]["template"]["spec"]["containers"]
    assert logins(compact) == {
        "RECMESH_REDIS_URL": ("stores", "redis"),
        "RECMESH_REDIS_CA": "/etc/ssl/certs/ca-certificates.crt",
        "RECMESH_MILVUS_URI": ("stores", "milvus"),
        "RECMESH_MILVUS_CA": "/etc/ssl/certs/ca-certificates.crt",
    }
    (compact,) = find(render("external", *without, TLS_OFF), "Deployment", "compact")["spec"]["template"]["spec"][
        "containers"
    ]
    assert logins(compact) == {"RECMESH_REDIS_URL": ("stores", "redis"), "RECMESH_MILVUS_URI": ("stores", "milvus")}


def test_redis_takes_its_password_from_a_secret_and_not_from_an_argument() -> None:
    resources = render("all")
    (redis,) = find(resources, "StatefulSet", "redis")["spec"]["template"]["spec"]["containers"]
    assert redis["command"] == ["sh", "/etc/redis/start.sh", "/etc/redis/redis.conf"]
    assert environment(redis)["REDISCLI_AUTH"] == ("redis-password", "password")
    read = ["redis-cli", "-s", "/run/redis/redis.sock", "-e", "exists", "recmesh"]
    assert [redis[probe]["exec"]["command"] for probe in ("startupProbe", "readinessProbe")] == [read, read]
    script = find(resources, "ConfigMap", "redis")["data"]["start.sh"]
    assert script.strip() == (CHARTS / "recmesh/files/redis-start.sh").read_text().strip()

    plain = render("default", "--set=redis.auth.enabled=false")
    (without,) = find(plain, "StatefulSet", "redis")["spec"]["template"]["spec"]["containers"]
    assert without["command"] == ["redis-server", "/etc/redis/redis.conf"]
    assert "REDISCLI_AUTH" not in environment(without)
    assert [without[probe]["exec"]["command"] for probe in ("startupProbe", "readinessProbe")] == [read, read]
    assert list(find(plain, "ConfigMap", "redis")["data"]) == ["redis.conf"]


@pytest.mark.parametrize("values", VALUES)
def test_no_variable_with_a_password_is_expanded(values: str) -> None:
    """Kubernetes would expand it in a URL or an argument, but not in a ConfigMap, where the script of Redis is."""
    resources = [resource for resource in render(values) if resource["kind"] != "ConfigMap"]
    texts = [text for resource in resources for text in strings(resource)]
    assert len(texts) > 500
    expanded = {name for text in texts for name in re.findall(r"\$\((\w+)\)", text)}
    assert expanded <= {"POD_NAME", "POD_UID", "NODE_NAME", "JOB_NAME"}  # attributes of traces
    assert [text for text in texts if re.search(r"\w://\S*@", text)] == []


def strings(value: Any) -> Iterator[str]:
    """All texts in a resource."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from strings(part)


def test_services_and_ingestion_share_the_prefix_of_the_keys_in_redis() -> None:
    for options, prefix in (((), "recmesh:"), (("--set=external.redis.prefix=shop-b:",), "shop-b:")):
        resources = render("default", *options)
        pods = pod_templates(resources)
        found = {name: environment(pod["spec"]["containers"][0]) for name, pod in pods.items()}
        assert {name for name, variables in found.items() if variables.get("RECMESH_REDIS_PREFIX") == prefix} == {
            name for name, variables in found.items() if "RECMESH_REDIS_URL" in variables
        }
        assert {f"Deployment/shop-{name}" for name in ("um", "cm", "recall", "feed")} <= found.keys()


def test_a_missing_store_is_refused_by_name() -> None:
    assert "external.redis: give a url or a secret" in refused("--set=redis.enabled=false")
    assert "external.milvus: give a uri or a secret" in refused("--set=milvus.enabled=false")


@pytest.mark.parametrize(
    "option",
    [
        "um.replica=2",
        "mode=both",
        "redis.pasword=x",
        "settings.log_level=debug",
        "ingest.shards=0",
        "feed.enabled=maybe",
        "redis.appendfsync=no",
        "external.redis.prefix=a b",
        "answers.sample=1.5",
        "archive.schedule=",
        "archive.keepHours=-1",
    ],
)
def test_invalid_values_are_refused(option: str) -> None:
    assert "don't meet the specifications of the schema" in refused(f"--set={option}")


@pytest.mark.parametrize("component", [*SERVICES, "paddle-serving"])
def test_services_send_traces_that_name_their_pod(component: str) -> None:
    (container,) = pod_templates(render("all"))[f"Deployment/shop-{component}"]["spec"]["containers"]
    variables = environment(container)
    resource = dict(pair.split("=") for pair in variables["OTEL_RESOURCE_ATTRIBUTES"].split(","))

    assert variables["OTEL_EXPORTER_OTLP_ENDPOINT"] == "https://collector:4318"
    assert variables["OTEL_EXPORTER_OTLP_PROTOCOL"] == "http/protobuf"
    assert variables["OTEL_EXPORTER_OTLP_CERTIFICATE"] == "/etc/recmesh/otlp-ca/ca.crt"
    assert {"name": "otlp-ca", "mountPath": "/etc/recmesh/otlp-ca", "readOnly": True} in container["volumeMounts"]
    assert variables["OTEL_EXPORTER_OTLP_HEADERS"] == ("otlp", "headers")
    assert (variables["POD_NAME"], variables["POD_UID"]) == ("metadata.name", "metadata.uid")
    assert resource == {
        "service.namespace": "shop",
        "service.instance.id": "$(POD_UID)",
        "k8s.namespace.name": "prod",
        "k8s.deployment.name": f"shop-{component}",
        "k8s.pod.name": "$(POD_NAME)",
        "k8s.pod.uid": "$(POD_UID)",
        "k8s.node.name": "$(NODE_NAME)",
        "k8s.container.name": component,
    }
    # Kubernetes replaces $(NAME) only if the variable comes earlier.
    names = [variable["name"] for variable in container["env"]]
    assert max(names.index(name) for name in ("POD_UID", "POD_NAME", "NODE_NAME")) < names.index(
        "OTEL_RESOURCE_ATTRIBUTES"
    )


def test_without_an_endpoint_no_pod_knows_of_traces() -> None:
    for name, template in pod_templates(render()).items():
        for container in containers(template):
            assert not [variable for variable in environment(container) if variable.startswith("OTEL_")], name
        assert "otlp-ca" not in [volume["name"] for volume in template["spec"].get("volumes", ())], name
