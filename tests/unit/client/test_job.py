"""`recmesh job run --dataset`: another data set is another job, and its ingestion finds its own release."""

import copy
import io
from typing import Any
from unittest.mock import ANY

import pytest
from rich.console import Console

from recmesh.cli.job import table, with_source
from recmesh.cli.jobs_api import REASON, lines_of
from recmesh.errors import SettingsError
from tests.cluster_jobs import MemoryJobs

TRAIN: dict[str, Any] = {
    "metadata": {"name": "shop-train-aaaaaaaa"},
    "spec": {
        "template": {
            "spec": {
                "initContainers": [{"args": ["jobs.data", "synthetic", "/data"]}],
                "containers": [{"args": ["jobs.train", "--dataset=/data", "--mark=m"]}],
            }
        }
    },
}
INGEST: dict[str, Any] = {
    "metadata": {"name": "shop-ingest-bbbbbbbb"},
    "spec": {
        "template": {
            "spec": {
                "initContainers": [{"args": ["jobs.data", "synthetic", "/data"]}],
                "containers": [{"args": ["jobs.ingest", "--dataset=/data", "--mark=m", "--wait=9"]}],
            }
        }
    },
}


def arguments(manifest: dict[str, Any], group: str) -> list[str]:
    found: list[str] = manifest["spec"]["template"]["spec"][group][0]["args"]
    return found


def test_the_source_the_name_and_the_mark_follow_the_data_set() -> None:
    train, ingest = (with_source(copy.deepcopy(job), "s3://shop/new") for job in (TRAIN, INGEST))
    assert arguments(train, "initContainers") == ["jobs.data", "s3://shop/new", "/data"]
    assert train["metadata"]["name"].startswith("shop-train-")
    assert train["metadata"]["name"] != TRAIN["metadata"]["name"]
    marks = {argument for job in (train, ingest) for argument in arguments(job, "containers") if "--mark" in argument}
    assert len(marks) == 1
    assert marks != {"--mark=m"}
    other = with_source(copy.deepcopy(TRAIN), "s3://shop/other")
    assert other["metadata"]["name"] != train["metadata"]["name"]
    assert with_source(copy.deepcopy(TRAIN), "s3://shop/new") == train


def test_a_data_set_on_a_volume_cannot_be_replaced() -> None:
    waiting = copy.deepcopy(TRAIN)
    waiting["spec"]["template"]["spec"]["initContainers"][0]["args"] = ["jobs.data", "--wait", "9", "/data"]
    with pytest.raises(SettingsError, match="recmesh job run import"):
        with_source(waiting, "synthetic")


def test_the_archiver_has_no_data_set() -> None:
    archive = {
        "metadata": {"name": "shop-archive-cccccccc"},
        "spec": {"template": {"spec": {"containers": [{"args": ["jobs.archive", "--archive=/a"]}]}}},
    }
    with pytest.raises(SettingsError, match="shop-archive-cccccccc reads no data set: leave out --dataset"):
        with_source(archive, "synthetic")


def test_a_log_is_split_at_its_line_breaks_alone() -> None:
    """Chunks may end within a character, and a killed container leaves its last line without a line break."""
    log = "größe\n\n日本\nlast".encode()
    for size in (1, 2, 3, 7, 100):
        chunks = (log[k : k + size] for k in range(0, len(log), size))
        assert list(lines_of(chunks)) == ["größe", "", "日本", "last"]


def test_the_list_says_why_a_job_was_started_that_nobody_asked_for() -> None:
    jobs, shown = MemoryJobs({}), io.StringIO()
    jobs.add("shop-train-aaaaaaaa", "train")
    jobs.end("shop-train-aaaaaaaa", "Failed")
    jobs.add("shop-ingest-repair-x7k2p", "ingest", {REASON: "Redis was empty; no release was active"})
    jobs.end("shop-ingest-repair-x7k2p")
    jobs.add("shop-ingest-repair-q4z9d", "ingest", {REASON: "Redis was empty"})
    Console(file=shown, width=200).print(table(jobs.all()))
    rows = [[cell.strip() for cell in line.strip("│┃").split("│")] for line in shown.getvalue().splitlines()]
    assert [row for row in rows if len(row) == 7] == [
        ["ingest", "shop-ingest-repair-q4z9d", "running", "0 of 1", "2026-01-01 00:00:02", ANY, "Redis was empty"],
        [
            *("ingest", "shop-ingest-repair-x7k2p", "complete", "1 of 1", "2026-01-01 00:00:01", "7 s"),
            "Redis was empty; no release was active",
        ],
        ["train", "shop-train-aaaaaaaa", "failed", "0 of 1", "2026-01-01 00:00:00", "7 s", ""],
    ]
