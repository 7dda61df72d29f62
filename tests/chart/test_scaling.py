"""Autoscalers, and what each service says of its pods' lives."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.chart.conftest import Resource, containers, find, given, refused, render

UM = "--set=um.autoscaling.enabled=true"


def autoscaler(kind: str, *options: str) -> Any:
    return find(render("default", UM, *options), kind, "um")["spec"]


def test_a_service_scales_by_its_cpu() -> None:
    assert autoscaler("HorizontalPodAutoscaler") == {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop-um"},
        "minReplicas": 1,
        "maxReplicas": 4,
        "metrics": [
            {
                "type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}},
            }
        ],
    }


SCALING = {
    "cpu": 0,
    "memory": 80,
    "inFlight": 60,
    "behavior": {"scaleDown": {"stabilizationWindowSeconds": 600}},
    "metrics": [{"type": "External"}],
}


def test_a_service_scales_by_memory_by_requests_in_progress_and_by_anything() -> None:
    spec = autoscaler("HorizontalPodAutoscaler", given(service={"autoscaling": SCALING}))
    assert spec["behavior"] == SCALING["behavior"]
    target = {"type": "AverageValue", "averageValue": "60"}
    assert spec["metrics"] == [
        {
            "type": "Resource",
            "resource": {"name": "memory", "target": {"type": "Utilization", "averageUtilization": 80}},
        },
        {"type": "Pods", "pods": {"metric": {"name": "recmesh_requests_in_flight_percent"}, "target": target}},
        {"type": "External"},
    ]
    message = refused(UM, "--set=um.autoscaling.cpu=0")
    assert "um.autoscaling: give a target: cpu, memory, inFlight or metrics" in message


def test_an_autoscaler_with_too_high_a_minimum_is_refused() -> None:
    assert "um.autoscaling: minReplicas (6) is more than maxReplicas (4)" in refused(
        UM, "--set=um.autoscaling.minReplicas=6"
    )


def test_keda_asks_prometheus_for_the_requests_in_progress() -> None:
    keda = {"enabled": True, "prometheus": "http://prometheus.monitoring:9090"}
    spec = autoscaler("ScaledObject", given(service={"autoscaling": {**SCALING, "metrics": [], "keda": keda}}))
    assert spec["scaleTargetRef"] == {"name": "shop-um"}
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (1, 4)
    assert spec["advanced"] == {"horizontalPodAutoscalerConfig": {"behavior": SCALING["behavior"]}}
    series = '{namespace="prod",service="um",pod=~"shop-um-.*"}'
    assert spec["triggers"] == [
        {"type": "memory", "metricType": "Utilization", "metadata": {"value": "80"}},
        {
            "type": "prometheus",
            "metricType": "Value",
            "metadata": {
                "serverAddress": "http://prometheus.monitoring:9090",
                "query": f"100 * sum(recmesh_requests_in_flight{series}) / sum(recmesh_requests_limit{series})",
                "threshold": "60",
            },
        },
    ]
    message = refused(UM, given(um={"autoscaling": {"enabled": True, "inFlight": 60, "keda": {"enabled": True}}}))
    assert "um.autoscaling.keda.prometheus: name the Prometheus" in message


def test_a_vertical_autoscaler_recommends_only() -> None:
    policy = {"containerPolicies": [{"containerName": "*", "maxAllowed": {"memory": "2Gi"}}]}
    option = given(rank={"verticalAutoscaling": {"enabled": True, "resourcePolicy": policy}})
    assert find(render("default", option), "VerticalPodAutoscaler", "rank")["spec"] == {
        "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop-rank"},
        "updatePolicy": {"updateMode": "Off"},
        "resourcePolicy": policy,
    }


def test_two_autoscalers_do_not_change_what_the_other_one_measures_by() -> None:
    vertical = {"enabled": True, "updateMode": "Recreate"}
    for target in ({}, {"cpu": 0, "memory": 80}):
        message = refused(given(um={"autoscaling": {"enabled": True, **target}, "verticalAutoscaling": vertical}))
        assert "um.verticalAutoscaling.updateMode: Recreate changes the requests" in message
    in_flight = {"enabled": True, "cpu": 0, "inFlight": 60}
    resources = render("default", given(um={"autoscaling": in_flight, "verticalAutoscaling": vertical}))
    assert find(resources, "VerticalPodAutoscaler", "um")["spec"]["updatePolicy"] == {"updateMode": "Recreate"}


def test_the_life_of_a_pod_follows_the_values() -> None:
    option = given(
        service={
            "strategy": {"rollingUpdate": {"maxSurge": "50%", "maxUnavailable": 1}},
            "revisionHistoryLimit": 3,
            "preStopSeconds": 8,
            "probes": {"readiness": {"failureThreshold": 5}},
            "securityContext": {"runAsUser": 7},
        },
        rank={"terminationGracePeriodSeconds": 90, "podSecurityContext": {"fsGroup": 7}},
    )
    resources = render("default", option)
    um, rank = (find(resources, "Deployment", name)["spec"] for name in ("um", "rank"))
    assert um["strategy"] == {"rollingUpdate": {"maxSurge": "50%", "maxUnavailable": 1}}
    assert um["revisionHistoryLimit"] == 3
    pod = um["template"]["spec"]
    assert (pod["terminationGracePeriodSeconds"], rank["template"]["spec"]["terminationGracePeriodSeconds"]) == (28, 90)
    (container,) = containers(um["template"])
    assert container["lifecycle"]["preStop"]["exec"]["command"][2] == "import time; time.sleep(8)"
    probe = {"path": "/readyz", "port": "metrics", "scheme": "HTTPS"}
    assert container["readinessProbe"] == {
        "httpGet": probe,
        "periodSeconds": 2,
        "timeoutSeconds": 5,
        "failureThreshold": 5,
    }
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "runAsUser": 7,
    }
    assert (pod["securityContext"]["fsGroup"], rank["template"]["spec"]["securityContext"]["fsGroup"]) == (1000, 7)


def accounts(resources: list[Resource]) -> set[str]:
    return {found["metadata"]["name"] for found in resources if found["kind"] == "ServiceAccount"}


def account(resources: list[Resource], kind: str, name: str) -> str | None:
    found: str | None = find(resources, kind, name)["spec"]["template"]["spec"].get("serviceAccountName")
    return found


def test_components_share_an_account_unless_they_have_their_own() -> None:
    role = {"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/train"}
    option = given(
        serviceAccount={"annotations": {"team": "search"}},
        train={"serviceAccount": {"create": True, "annotations": role}},
        rank={"serviceAccount": {"name": "existing"}},
        redis={"serviceAccount": {"create": True, "name": "database"}},
        secrets={"serviceAccount": {"name": "issuer"}},
    )
    resources = render("default", option)
    assert accounts(resources) == {"shop-services", "shop-train", "shop-controller", "database"}
    assert find(resources, "ServiceAccount", "train")["metadata"]["annotations"] == role
    assert find(resources, "ServiceAccount", "services")["metadata"]["annotations"] == {"team": "search"}
    of = {(kind, name): account(resources, kind, name) for kind, name in WITH_ACCOUNTS}
    assert of == {
        ("Deployment", "um"): "shop-services",
        ("Deployment", "rank"): "existing",
        ("Job", "train"): "shop-train",
        ("Job", "ingest"): "shop-services",
        ("Job", "secrets"): "issuer",
        ("StatefulSet", "redis"): "database",
        ("StatefulSet", "milvus"): None,
    }
    binding = find(resources, "RoleBinding", "secrets")
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "issuer", "namespace": "prod"}]


WITH_ACCOUNTS = (
    *(("Deployment", name) for name in ("um", "rank")),
    *(("Job", name) for name in ("train", "ingest", "secrets")),
    *(("StatefulSet", name) for name in ("redis", "milvus")),
)


@pytest.mark.parametrize("mode", ["services", "compact"])
def test_an_account_that_several_components_name_is_created_once(mode: str) -> None:
    role = {"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/writer"}
    option = given(
        service={"serviceAccount": {"create": True, "name": "reader"}},
        job={"serviceAccount": {"create": True, "name": "writer", "annotations": role}},
        controller={"serviceAccount": {"create": True, "name": "reader"}},
    )
    resources = render("default", option, f"--set=mode={mode}")
    names = [found["metadata"]["name"] for found in resources if found["kind"] == "ServiceAccount"]
    assert sorted(names) == ["reader", "shop-services", "writer"]
    created = {found["metadata"]["name"]: found["metadata"] for found in resources if found["kind"] == "ServiceAccount"}
    assert created["writer"]["annotations"] == role
    assert account(resources, "Deployment", "feed") == account(resources, "Deployment", "controller") == "reader"
    assert {account(resources, "Job", name) for name in ("train", "ingest", "secrets")} == {"writer"}
    subjects = {name: find(resources, "RoleBinding", name)["subjects"][0]["name"] for name in ("controller", "secrets")}
    assert subjects == {"controller": "reader", "secrets": "writer"}


def test_the_account_of_the_namespace_is_enough() -> None:
    resources = render("default", "--set=serviceAccount.create=false")
    assert accounts(resources) == {"shop-secrets", "shop-controller"}
    assert account(resources, "Deployment", "um") is None
    named = render("default", "--set=serviceAccount.create=false", "--set=serviceAccount.name=given")
    assert account(named, "Deployment", "um") == account(named, "Job", "train") == "given"


def test_metrics_of_the_stores_are_scraped_without_tls() -> None:
    option = given(
        redis={"metrics": {"enabled": True}},
        milvus={"metrics": {"enabled": True}},
        networkPolicy={"metricsNamespaces": ["monitoring"]},
        monitoring={"serviceMonitor": {"enabled": True}},
    )
    resources = render("default", "--api-versions=monitoring.coreos.com/v1", option)
    for store, port in (("redis", 9121), ("milvus", 9091)):
        monitor = find(resources, "ServiceMonitor", store)
        assert monitor["spec"]["endpoints"] == [{"port": "metrics", "honorLabels": True}]
        service = find(resources, "Service", store)
        assert {"name": "metrics", "port": port, "targetPort": "metrics"} in service["spec"]["ports"]
        assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        pod = find(resources, "StatefulSet", store)["spec"]["template"]
        assert [
            number["containerPort"]
            for container in containers(pod)
            for number in container["ports"]
            if number["name"] == "metrics"
        ] == [port]


def test_the_exporter_of_redis_is_restarted_once_its_password_has_changed(tmp_path: Path) -> None:
    pod = find(render("default", "--set=redis.metrics.enabled=true"), "StatefulSet", "redis")["spec"]["template"]
    exporter = containers(pod)[-1]
    variables = {variable["name"]: variable for variable in exporter["env"]}
    (key,) = [volume["secret"] for volume in pod["spec"]["volumes"] if volume["name"] == "metrics-auth"]
    assert variables["REDIS_PASSWORD"]["valueFrom"]["secretKeyRef"] == {"name": key["secretName"], "key": "probe"}
    *command, script = exporter["livenessProbe"]["exec"]["command"]
    (tmp_path / "probe").write_text("new")
    script = script.replace("/etc/redis-auth", str(tmp_path))
    ended = [
        subprocess.run([*command, script], env={"REDIS_PASSWORD": password}, check=False).returncode
        for password in ("new", "old")
    ]
    assert ended == [0, 1]


def test_the_pods_of_helm_test_are_as_configurable_as_others() -> None:
    volume = {"name": "ca", "configMap": {"name": "ca"}}
    option = given(
        **{
            "global": {"imagePullSecrets": ["pull", {"name": "other"}], "extraEnv": [{"name": "A", "value": "1"}]},
            "test": {
                "extraEnv": [{"name": "B", "value": "2"}],
                "extraVolumes": [volume],
                "extraVolumeMounts": [{"name": "ca", "mountPath": "/ca"}],
                "podLabels": {"sidecar.istio.io/inject": "false"},
                "podSecurityContext": {"runAsUser": 7},
                "users": [7, "8", "a: b", "c #1"],
            },
        }
    )
    pod = find(render("default", option), "Pod", "test-as")
    (container,) = pod["spec"]["containers"]
    assert container["args"] == [
        "recmesh",
        "verify",
        "--service=as",
        "--user=7",
        "--user=8",
        "--user=a: b",
        "--user=c #1",
    ]
    assert {"name": "A", "value": "1"} in container["env"]
    assert {"name": "B", "value": "2"} in container["env"]
    assert volume in pod["spec"]["volumes"]
    assert {"name": "ca", "mountPath": "/ca"} in container["volumeMounts"]
    assert pod["spec"]["imagePullSecrets"] == [{"name": "pull"}, {"name": "other"}]
    assert pod["spec"]["securityContext"]["runAsUser"] == 7
    assert pod["metadata"]["labels"]["sidecar.istio.io/inject"] == "false"
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
