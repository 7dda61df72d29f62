"""The name of a Job follows from its spec, so that upgrades start jobs only when needed; values shape the spec."""

import pytest
import yaml

from tests.chart.conftest import containers, environment, find, render


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
    assert set(templates) == {"train", "ingest", "import"}
    for kind in ("train", "ingest"):
        assert templates[kind] == find(resources, "Job", kind)
    assert templates["import"]["spec"]["template"]["spec"]["containers"][0]["args"] == [
        "jobs.data",
        "https://data.example/shop.tar.gz",
        "/dataset/shop",
    ]


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
