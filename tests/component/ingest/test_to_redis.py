"""The ingestion of a data set into Redis."""

import io
import shutil
from collections.abc import Set as AbstractSet
from pathlib import Path

import polars as pl
import pytest
import redis
from rich.console import Console

from jobs.ingest.shard import Shard
from jobs.ingest.to_redis import to_redis
from recmesh.dataset import DataSet, read
from recmesh.errors import RecmeshError
from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.pb.user_info_pb2 import History, UserInfo
from recmesh.progress import Reporter
from recmesh.stores.redis import RedisWriter
from recmesh.stores.wire import item_fields, user_fields
from tests.servers import RedisServer

PREFIXES = ("recmesh:item:", "recmesh:{u:")
ALL_ROWS = Shard()


def content(client: "redis.Redis") -> dict[str, bytes]:
    """All keys and values that the services read."""
    keys = sorted(key for key in client.scan_iter(count=10_000) if key.decode().startswith(PREFIXES))
    return dict(zip([key.decode() for key in keys], client.mget(keys) if keys else [], strict=True))


def stored(client: "redis.Redis", key: str) -> bytes:
    """The bytes of a key."""
    value = client.get(key)
    assert isinstance(value, bytes)
    return value


def expected(data: DataSet) -> dict[str, bytes]:
    """Keys and values of a data set, computed row by row."""
    result = {}
    for row in data.items.iter_rows(named=True):
        fields = {name: value for name, value in row.items() if value is not None}
        result[f"recmesh:item:{row['sku_id']}"] = ItemInfo(**fields).SerializeToString()
    for row in data.users.iter_rows(named=True):
        fields = {name: value for name, value in row.items() if value is not None}
        result[f"recmesh:{{u:{row['user_id']}}}:user"] = UserInfo(**fields).SerializeToString()
    actions = data.actions.with_columns(pl.col("user_id", "sku_id", "type").cast(pl.String))
    newest_first = actions.with_row_index().sort("time", "index", descending=[True, False])
    for (user_id,), group in newest_first.group_by("user_id", maintain_order=True):
        kinds = list(dict.fromkeys(group["type"][:500]))
        detailed = set(group["sku_id"][:500])
        older = [sku for sku in dict.fromkeys(group["sku_id"][500:]) if sku not in detailed]
        result[f"recmesh:{{u:{user_id}}}:history"] = History(
            sku_ids=group["sku_id"][:500],
            times=group["time"][:500],
            types=[kinds.index(kind) for kind in group["type"][:500]],
            values=group["value"][:500],
            type_names=kinds,
            older_sku_ids=older,
        ).SerializeToString()
    return result


def ingest(
    data: DataSet, server: RedisServer, shard: Shard = ALL_ROWS, in_log: AbstractSet[str] = frozenset()
) -> tuple[bool, str]:
    output = io.StringIO()
    writer = RedisWriter(server.url)
    try:
        return to_redis(data, writer, shard, Reporter(Console(file=output)), in_log), output.getvalue()
    finally:
        writer.close()


def test_redis_holds_exactly_the_data_set(data: DataSet, own_redis: RedisServer, client: "redis.Redis") -> None:
    changed, output = ingest(data, own_redis)
    assert changed
    assert "5,000 users" in output
    assert content(client) == expected(data)


def test_stored_values_decode_to_the_rows_of_the_data_set(
    data: DataSet, own_redis: RedisServer, client: "redis.Redis"
) -> None:
    ingest(data, own_redis)
    user, item = data.users.row(7, named=True), data.items.row(7, named=True)
    stored_user = UserInfo.FromString(stored(client, f"recmesh:{{u:{user['user_id']}}}:user"))
    stored_item = ItemInfo.FromString(stored(client, f"recmesh:item:{item['sku_id']}"))
    assert {"user_id": stored_user.user_id, **user_fields(stored_user)} == {k: v for k, v in user.items() if v}
    assert {"sku_id": stored_item.sku_id, **item_fields(stored_item)} == {k: v for k, v in item.items() if v}


def test_ingesting_the_same_data_again_changes_nothing(
    data: DataSet, own_redis: RedisServer, client: "redis.Redis"
) -> None:
    ingest(data, own_redis)
    before, writes = content(client), client.info("commandstats")["cmdstat_mset"]["calls"]
    changed, output = ingest(data, own_redis)
    assert not changed
    assert "current" in output
    assert content(client) == before
    assert client.info("commandstats")["cmdstat_mset"]["calls"] == writes


def test_removed_rows_disappear_from_redis_and_foreign_keys_stay(
    data: DataSet, folder: Path, tmp_path: Path, own_redis: RedisServer, client: "redis.Redis"
) -> None:
    client.set("other:1", "kept")
    ingest(data, own_redis)
    smaller = read(_without(folder, tmp_path / "smaller", data.items["sku_id"][0], data.users["user_id"][0]))
    changed, output = ingest(smaller, own_redis)
    assert changed
    assert " 0 stale" not in output
    assert content(client) == expected(smaller)
    assert client.get("other:1") == b"kept"
    ingest(data, own_redis)
    assert content(client) == expected(data)


def _without(folder: Path, into: Path, sku_id: str, user_id: str) -> Path:
    shutil.copytree(folder, into)
    for name, column, identity in (
        ("products.csv", "sku_id", sku_id),
        ("users.csv", "user_id", user_id),
        ("actions.csv", "sku_id", sku_id),
        ("actions.csv", "user_id", user_id),
    ):
        frame = pl.read_csv(into / name, infer_schema=False)
        frame.filter(pl.col(column) != identity).write_csv(into / name)
    return into


def test_lost_values_are_written_again(data: DataSet, own_redis: RedisServer, client: "redis.Redis") -> None:
    ingest(data, own_redis)
    client.delete(f"recmesh:{{u:{data.users['user_id'][-1]}}}:user")
    changed, output = ingest(data, own_redis)
    assert changed
    assert "contents are missing or changed" in output
    assert content(client) == expected(data)


def test_shards_together_write_everything_and_the_last_verifies(
    data: DataSet, own_redis: RedisServer, client: "redis.Redis"
) -> None:
    stale = "recmesh:{u:stale}:user"
    client.set(stale, UserInfo(user_id="stale").SerializeToString())
    outputs = [ingest(data, own_redis, Shard(index, 3))[1] for index in (2, 0)]
    assert all("the last shard to finish" in output for output in outputs)
    assert client.exists(stale)
    assert "verified" in ingest(data, own_redis, Shard(1, 3))[1]
    assert content(client) == expected(data)
    assert ingest(data, own_redis, Shard(0, 3))[0] is False


class _LosingWriter(RedisWriter):
    def write(self, pairs: dict[str, bytes]) -> None:  # type: ignore[override]
        super().write(dict(list(pairs.items())[1:]))


def test_lost_writes_are_an_error_that_the_next_run_repairs(
    data: DataSet, own_redis: RedisServer, client: "redis.Redis"
) -> None:
    ingest(data, own_redis, Shard(0, 2))
    with pytest.raises(RecmeshError, match=r"does not hold what was written: 599 of 600 items"):
        to_redis(data, _LosingWriter(own_redis.url), Shard(1, 2), Reporter(Console(file=io.StringIO())))
    client.delete(f"recmesh:item:{data.items['sku_id'][0]}")
    assert "verified" in ingest(data, own_redis, Shard(1, 2))[1]
    assert content(client) == expected(data)
