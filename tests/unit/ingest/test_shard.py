"""Shares of the work of parallel pods, as an Indexed Job names them."""

import pytest

from jobs.ingest.shard import Shard
from recmesh.errors import SettingsError


def test_without_an_indexed_job_there_is_one_shard() -> None:
    assert Shard.from_environment({}) == Shard(0, 1)


def test_an_indexed_job_names_its_shard() -> None:
    environment = {"JOB_COMPLETION_INDEX": "2", "JOB_COMPLETIONS": "3"}
    assert Shard.from_environment(environment) == Shard(2, 3)


@pytest.mark.parametrize(("index", "count"), [("3", "3"), ("0", ""), ("", "3"), ("-1", "3"), ("x", "3"), ("0", "0")])
def test_an_impossible_shard_is_refused(index: str, count: str) -> None:
    with pytest.raises(SettingsError, match="JOB_COMPLETIONS"):
        Shard.from_environment({"JOB_COMPLETION_INDEX": index, "JOB_COMPLETIONS": count})


@pytest.mark.parametrize("total", [0, 1, 2, 7, 100])
@pytest.mark.parametrize("count", [1, 3, 8])
def test_the_shards_cover_every_row_once(total: int, count: int) -> None:
    rows = [row for index in range(count) for row in Shard(index, count).rows(total)]
    assert rows == list(range(total))
