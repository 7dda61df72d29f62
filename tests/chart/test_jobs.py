"""The name of a Job follows from its spec, so that upgrades start jobs only when needed; values shape the spec."""

import pytest
import yaml

from tests.chart.conftest import Resource, containers, environment, find, given, pod_templates, render


def job_name(kind: str, *options: str) -> str:
    name: str = find(render("default", *options), "Job", kind)["metadata"]["name"]
    return name


@pytest.mark.parametrize(
    "option",
    ["--set=image.tag=next", "--set=dataset.version=2", "--set=dataset.source=ta_feng", "--set=train.seed=2"],
)
def test_a_changed_spec_gives_a_new_job(option: str) -> None:
    assert job_name("train", option) != job_name("train")


@pytest.mark.parametrize(
    "option",
    ["--set=um.replicas=3", "--set=mode=compact", "--set=retrain.schedule=0 3 * * *", "--set=launcher.enabled=true"],
)
def test_unrelated_values_keep_the_job(option: str) -> None:
    assert job_name("train", option) == job_name("train")
    assert job_name("ingest", option) == job_name("ingest")


def test_no_job_is_a_hook() -> None:
    for resource in render("all"):
        hook = resource["metadata"].get("annotations", {}).get("helm.sh/hook")
        assert hook == ("test" if resource["kind"] == "Pod" else None), resource["metadata"]["name"]


def test_indexed_pods_share_the_ingestion() -> None:
    spec = find(render("all"), "Job", "ingest")["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 3, 3)
    (ingest,) = spec["template"]["spec"]["containers"]
    assert environment(ingest)["JOB_COMPLETIONS"] == "3"
    assert environment(ingest)["JOB_UID"] == "metadata.labels['batch.kubernetes.io/controller-uid']"
    assert "JOB_COMPLETION_INDEX" not in environment(ingest)  # Kubernetes sets it


def test_errors_of_settings_or_data_are_not_retried() -> None:
    spec = find(render("default"), "Job", "train")["spec"]
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert spec["podFailurePolicy"]["rules"][0]["onExitCodes"] == {"operator": "In", "values": [2, 3]}


def test_every_job_reads_the_same_data_set() -> None:
    for values, folder in (("default", "/var/lib/recmesh/data/set"), ("all", "/dataset/shop")):
        resources = render(values)
        for kind in ("train", "ingest"):
            (job,) = find(resources, "Job", kind)["spec"]["template"]["spec"]["containers"]
            assert f"--dataset={folder}" in job["args"]


def test_a_data_set_comes_from_its_source_or_its_volume() -> None:
    (fetching,) = find(render("default", "--set=dataset.source=https://x.example/d.zip"), "Job", "train")["spec"][
        "template"
    ]["spec"]["initContainers"]
    assert fetching["args"] == ["jobs.data", "https://x.example/d.zip", "/var/lib/recmesh/data/set"]
    template = find(render("all"), "Job", "train")["spec"]["template"]
    waiting = containers(template)[0]
    assert waiting["args"] == ["jobs.data", "--wait", "3600", "/dataset/shop"]
    assert {"name": "dataset", "mountPath": "/dataset", "readOnly": True} in waiting["volumeMounts"]


def test_retraining_fetches_trains_and_ingests_in_one_pod() -> None:
    cron = find(render("all"), "CronJob", "retrain")["spec"]
    assert (cron["schedule"], cron["concurrencyPolicy"]) == ("0 3 * * *", "Forbid")
    template = cron["jobTemplate"]["spec"]["template"]
    spec = template["spec"]
    assert [container["name"] for container in spec["initContainers"]] == ["dataset", "train"]
    assert [container["name"] for container in spec["containers"]] == ["ingest"]
    assert "--prune" in spec["containers"][0]["args"]
    marks = {
        argument
        for pod in (template, find(render("all"), "Job", "train")["spec"]["template"])
        for container in containers(pod)
        for argument in container["args"]
        if argument.startswith("--mark=")
    }
    assert len(marks) == 1, "a repeated ingestion must find the release of the scheduled training"
    kept = find(render("all", "--set=retrain.prune=false"), "CronJob", "retrain")["spec"]["jobTemplate"]["spec"]
    for pod in (kept["template"], find(render("all"), "Job", "ingest")["spec"]["template"]):
        assert "--prune" not in containers(pod)[-1]["args"]


def test_the_launcher_has_the_jobs_of_the_installation() -> None:
    resources = render("all")
    templates = {name: yaml.safe_load(text) for name, text in find(resources, "ConfigMap", "jobs")["data"].items()}
    assert set(templates) == {"train", "ingest", "import", "archive"}
    for kind in ("train", "ingest"):
        job = find(resources, "Job", kind)
        metadata = templates[kind]["metadata"]
        assert templates[kind]["spec"] == job["spec"]
        assert metadata["labels"] == job["metadata"]["labels"]
        assert (metadata["generateName"], "name" in metadata) == (f"shop-{kind}-", False)  # no name that helm needs
        assert metadata["annotations"] == {
            "recmesh.io/job-name": job["metadata"]["name"],
            "meta.helm.sh/release-name": "shop",
            "meta.helm.sh/release-namespace": "prod",
        }
    assert templates["import"]["spec"]["template"]["spec"]["containers"][0]["args"] == [
        "jobs.data",
        "https://data.example/shop.tar.gz",
        "/dataset/shop",
    ]


def test_the_archiver_trims_the_log_on_a_schedule() -> None:
    spec = find(render("default"), "CronJob", "archive")["spec"]
    assert (spec["schedule"], spec["suspend"], spec["concurrencyPolicy"]) == ("17 * * * *", False, "Forbid")
    assert (spec["successfulJobsHistoryLimit"], spec["failedJobsHistoryLimit"]) == (3, 1)
    spec = find(render("all"), "CronJob", "archive")["spec"]
    assert (spec["schedule"], spec["suspend"]) == ("*/10 * * * *", True)
    assert (spec["successfulJobsHistoryLimit"], spec["failedJobsHistoryLimit"]) == (2, 5)
    template = spec["jobTemplate"]["spec"]["template"]
    (container,) = template["spec"]["containers"]
    assert container["image"] == "registry.example/recmesh/ingest:0.1.0"
    assert container["args"] == ["jobs.archive", "--archive=/model-store/archive", "--keep=0.5"]
    assert {"name": "model-store", "mountPath": "/model-store"} in container["volumeMounts"]
    assert {"name": "redis-ca", "mountPath": "/etc/recmesh/redis-ca", "readOnly": True} in container["volumeMounts"]
    assert "dataset" not in [volume["name"] for volume in template["spec"]["volumes"]]
    variables = environment(container)
    assert variables["RECMESH_REDIS_PASSWORD"] == ("redis-password", "password")
    assert variables["AWS_ACCESS_KEY_ID"] == ("store-credentials", "AWS_ACCESS_KEY_ID")
    assert not [name for name in variables if "MILVUS" in name]


ARCHIVES: list[tuple[str, tuple[str, ...], list[str]]] = [
    ("default", (), ["--archive=/model-store/archive"]),
    ("external", (), ["--archive=s3://models/recmesh/archive"]),
    ("external", ("--set=modelStore.url=s3://models/",), ["--archive=s3://models/archive"]),
    ("default", ("--set=archive.url=s3://log/shop",), ["--archive=s3://log/shop"]),
    ("default", ("--set=archive.url=null",), ["--archive=/model-store/archive"]),
    ("default", ("--set=feed.enabled=false",), ["--archive=/model-store/archive"]),  # what feed recorded before
    ("default", ("--set=archive.enabled=false",), []),
]


@pytest.mark.parametrize(("values", "options", "expected"), ARCHIVES)
def test_every_training_and_ingestion_reads_the_archive(
    values: str, options: tuple[str, ...], expected: list[str]
) -> None:
    resources = render(values, "--set=retrain.schedule=0 3 * * *", *options)
    archived = find(resources, "CronJob", "archive") if expected and "feed.enabled" not in str(options) else None
    if archived:
        (archiver,) = containers(archived["spec"]["jobTemplate"]["spec"]["template"])
        assert archiver["args"][1:2] == expected
    retraining = find(resources, "CronJob", "retrain")["spec"]["jobTemplate"]["spec"]["template"]
    jobs = [find(resources, "Job", kind)["spec"]["template"] for kind in ("train", "ingest")]
    found = {
        (template["metadata"]["labels"]["app.kubernetes.io/component"], container["name"]): [
            argument for argument in container["args"] if argument.startswith("--archive")
        ]
        for template in (*jobs, retraining)
        for container in containers(template)
        if container["name"] != "dataset"
    }
    readers = (("train", "train"), ("ingest", "ingest"), ("retrain", "train"), ("retrain", "ingest"))
    assert found == dict.fromkeys(readers, expected)


@pytest.mark.parametrize("kind", ["retrain", "archive"])
def test_jobs_of_a_schedule_have_the_labels_of_the_installation(kind: str) -> None:
    cron = find(render("all"), "CronJob", kind)
    assert cron["spec"]["jobTemplate"]["metadata"]["labels"] == cron["metadata"]["labels"]
    assert cron["metadata"]["labels"]["app.kubernetes.io/component"] == kind


def test_releases_survive_the_uninstallation() -> None:
    claim = find(render("default"), "PersistentVolumeClaim", "model-store")
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_services_read_the_model_store_and_jobs_write_it() -> None:
    resources = render("default")
    for kind, name, read_only in (("Deployment", "recall", True), ("Deployment", "rank", True), ("Job", "train", None)):
        (container,) = find(resources, kind, name)["spec"]["template"]["spec"]["containers"]
        (mount,) = [mount for mount in container["volumeMounts"] if mount["name"] == "model-store"]
        assert mount.get("readOnly") is read_only
        assert environment(container)["RECMESH_MODEL_STORE"] == "/model-store"


def job_containers(resources: list[Resource]) -> dict[str, Resource]:
    """The containers of all jobs, as <component>/<container>, with those of `recmesh job run import`."""
    templates = pod_templates([resource for resource in resources if resource["kind"] in ("Job", "CronJob")])
    created = yaml.safe_load(find(resources, "ConfigMap", "jobs")["data"]["import"])["spec"]["template"]
    return {
        f"{template['metadata']['labels']['app.kubernetes.io/component']}/{container['name']}": container
        for template in (*templates.values(), created)
        for container in containers(template)
    }


def test_every_container_of_a_job_has_the_settings_and_sends_traces() -> None:
    options = given(job={"settings": {"TRACE_RATIO": 0.5}}, ingest={"settings": {"LOG_LEVEL": "error"}})
    found = job_containers(render("all", options, "--set=redis.auth.existingSecret="))
    assert found.keys() == {
        *("train/dataset", "train/train", "ingest/dataset", "ingest/ingest", "import/import"),
        *("retrain/dataset", "retrain/train", "retrain/ingest", "archive/archive", "secrets/secrets"),
    }
    for name, container in found.items():
        variables = environment(container)
        own = name.endswith("/ingest") or name in ("ingest/dataset", "import/import")
        assert variables["RECMESH_LOG_LEVEL"] == ("error" if own else "debug"), name
        assert variables["RECMESH_TRACE_RATIO"] == "0.5", name
        assert variables["OTEL_EXPORTER_OTLP_ENDPOINT"] == "https://collector:4318", name
        assert variables["OTEL_EXPORTER_OTLP_HEADERS"] == ("otlp", "headers"), name
        assert variables["JOB_NAME"] == "metadata.labels['batch.kubernetes.io/job-name']", name
        traced = dict(pair.split("=") for pair in variables["OTEL_RESOURCE_ATTRIBUTES"].split(","))
        assert (traced["k8s.job.name"], traced["k8s.container.name"]) == ("$(JOB_NAME)", name.split("/")[1])


def test_whole_numbers_are_never_printed_with_an_exponent() -> None:
    options = given(
        settings={"MAX_BYTES_IN_FLIGHT": 268435456},
        train={"seed": 20240101},
        jobs={"waitSeconds": 1000000},
        answers={"sample": 1, "mib": 1048576},
        dataset={"version": 20240101},
        test={"users": [5000000, "a"]},
        um={"terminationGracePeriodSeconds": 1000000},
        **{"global": {"podSecurityContext": {"runAsUser": 1000680000}}},
    )
    resources = render("default", options)
    (train,) = find(resources, "Job", "train")["spec"]["template"]["spec"]["containers"]
    assert "--seed=20240101" in train["args"]
    assert environment(train)["RECMESH_MAX_BYTES_IN_FLIGHT"] == "268435456"
    (ingest,) = find(resources, "Job", "ingest")["spec"]["template"]["spec"]["containers"]
    assert "--wait=1000000" in ingest["args"]
    (verify,) = find(resources, "Pod", "test-um")["spec"]["containers"]
    assert verify["args"][-2:] == ["--user=5000000", "--user=a"]
    spec = find(resources, "Deployment", "as")["spec"]["template"]["spec"]
    assert environment(spec["containers"][0])["RECMESH_ANSWER_LOG_MIB"] == "1048576"
    assert spec["securityContext"]["runAsUser"] == 1000680000
    assert find(resources, "Deployment", "um")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 1000000


def test_schedules_have_the_time_zone_of_all_or_their_own() -> None:
    def zones(*options: str) -> list[str | None]:
        resources = render("default", "--set=retrain.schedule=@daily", *options)
        return [find(resources, "CronJob", name)["spec"].get("timeZone") for name in ("retrain", "archive", "secrets")]

    assert zones() == [None, None, None]
    assert zones("--set=jobs.timeZone=Europe/Berlin") == ["Europe/Berlin"] * 3
    own = ("--set=jobs.timeZone=Europe/Berlin", "--set=retrain.timeZone=Asia/Tokyo")
    assert zones(*own) == ["Asia/Tokyo", "Europe/Berlin", "Europe/Berlin"]
    assert zones("--set=secrets.timeZone=Etc/UTC") == [None, None, "Etc/UTC"]


def test_retraining_has_the_volumes_and_the_account_of_training_and_ingestion() -> None:
    volume, other = {"name": "a", "emptyDir": {}}, {"name": "b", "emptyDir": {}}
    options = given(
        train={"serviceAccount": {"create": True}, "extraVolumes": [volume], "runtimeClassName": "gvisor"},
        ingest={
            "serviceAccount": {"create": True, "annotations": {"role": "loader"}},
            "extraVolumes": [volume, other],
            "extraVolumeMounts": [{"name": "b", "mountPath": "/b"}],
        },
        retrain={"schedule": "@daily"},
        job={"scratchStorageClass": "fast"},
        dataset={"volume": {"enabled": True}},
    )
    resources = render("default", options)
    spec = find(resources, "CronJob", "retrain")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert [found for found in spec["volumes"] if found in (volume, other)] == [volume, other]
    assert {"name": "b", "mountPath": "/b"} in spec["containers"][0]["volumeMounts"]
    assert (spec["serviceAccountName"], spec["runtimeClassName"]) == ("shop-train", "gvisor")
    (home,) = [found for found in spec["volumes"] if found["name"] == "home"]
    assert home["ephemeral"]["volumeClaimTemplate"]["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "fast",
        "resources": {"requests": {"storage": "20Gi"}},
    }
    created = yaml.safe_load(find(resources, "ConfigMap", "jobs")["data"]["import"])["spec"]["template"]["spec"]
    assert created["serviceAccountName"] == "shop-ingest"
    accounts = {found["metadata"]["name"]: found for found in resources if found["kind"] == "ServiceAccount"}
    assert accounts.keys() == {"shop-services", "shop-train", "shop-ingest", "shop-secrets", "shop-controller"}
    assert accounts["shop-ingest"]["metadata"]["annotations"] == {"role": "loader"}
