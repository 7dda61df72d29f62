"""A Redis that other applications, other data sets and version 0.1.0 use as well."""

import asyncio
import dataclasses
import io
from collections.abc import Iterator

import pytest
import redis
from rich.console import Console

from jobs.ingest import ownership
from jobs.ingest.shard import Shard
from jobs.ingest.to_redis import to_redis
from recmesh.dataset import DataSet
from recmesh.errors import SettingsError
from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.pb.user_info_pb2 import History, UserInfo
from recmesh.progress import Reporter
from recmesh.stores.keys import UNPREFIXED, Keys
from recmesh.stores.redis import RedisReader, RedisWriter
from tests.servers import RedisServer


@pytest.fixture(autouse=True)
def short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers of these tests look for the new keys at every read, so that the job need not wait for them."""
    monkeypatch.setattr(ownership, "LAYOUT_SECONDS", 0.0)
    monkeypatch.setattr("recmesh.stores.redis.LAYOUT_SECONDS", 0.0)


@pytest.fixture
def shop(client: "redis.Redis") -> dict[str, object]:
    """What a web shop keeps in the same Redis. Returns its keys and values."""
    for number in range(50):
        client.hset(f"user:{number}", mapping={"name": f"n{number}", "basket": "3"})
    for number in range(30):
        client.set(f"item:{number}:stock", number)
    client.set("item:7", "a plain text")
    client.rpush("history:orders", "o1", "o2")
    client.sadd("item:featured", "a", "b")
    client.set("ingest:redis", "a queue of the shop")
    return everything(client)


def everything(client: "redis.Redis", prefix: str = "") -> dict[str, object]:
    """The serialized values of all keys with a prefix."""
    return {key.decode(): client.dump(key) for key in client.scan_iter(f"{prefix}*", count=10_000)}


def ingest(data: DataSet, server: RedisServer, prefix: str = "recmesh:") -> str:
    output = io.StringIO()
    writer = RedisWriter(server.url, keys=Keys.of(prefix))
    try:
        to_redis(data, writer, Shard(), Reporter(Console(file=output, width=1000)))
    finally:
        writer.close()
    return output.getvalue()


@pytest.fixture
def smaller(data: DataSet) -> Iterator[DataSet]:
    """The data set without its last 100 users and items, which is ingested as another one."""
    users, items = data.users.head(-100), data.items.head(-100)
    known = data.actions.filter(
        data.actions["user_id"].cast(str).is_in(users["user_id"].cast(str).implode())
        & data.actions["sku_id"].cast(str).is_in(items["sku_id"].cast(str).implode())
    )
    yield dataclasses.replace(data, users=users, items=items, actions=known, fingerprint="b" * 64)


def test_keys_of_other_applications_stay(
    data: DataSet, smaller: DataSet, own_redis: RedisServer, client: "redis.Redis", shop: dict[str, object]
) -> None:
    ingest(data, own_redis)
    ingest(smaller, own_redis)
    ingest(data, own_redis)
    assert {key: value for key, value in everything(client).items() if not key.startswith("recmesh:")} == shop


def test_another_prefix_does_not_touch_the_first_data_set(
    data: DataSet, smaller: DataSet, own_redis: RedisServer, client: "redis.Redis"
) -> None:
    ingest(data, own_redis, "a:")
    first = everything(client, "a:")
    assert len(first) > 5_600
    ingest(smaller, own_redis, "a:b:")
    ingest(data, own_redis, "a:b:")
    ingest(smaller, own_redis, "a:b:")
    assert everything(client, "a:") == first | everything(client, "a:b:")


@pytest.mark.parametrize("key", ["shop:cart:7", "shop:item:7", "shop:{u:7}:user", "shop:"])
def test_a_prefix_of_another_application_is_refused_and_nothing_is_written(
    key: str, data: DataSet, own_redis: RedisServer, client: "redis.Redis"
) -> None:
    client.hset(key, mapping={"name": "n"})
    with pytest.raises(SettingsError) as error:
        ingest(data, own_redis, "shop:")
    assert str(error.value) == (
        f"Redis {own_redis.url}: recmesh did not write 1 of the keys that begin with shop:, such as {key!r}; "
        "set RECMESH_REDIS_PREFIX to a prefix that no other application uses"
    )
    assert list(everything(client)) == [key]


def test_only_keys_that_recmesh_wrote_are_removed(
    data: DataSet, smaller: DataSet, own_redis: RedisServer, client: "redis.Redis"
) -> None:
    ingest(data, own_redis)
    client.set("recmesh:item:gone", ItemInfo(sku_id="gone", brand="b").SerializeToString())
    client.set("recmesh:item:other", ItemInfo(sku_id="gone").SerializeToString())
    client.hset("recmesh:{u:session}:user", mapping={"name": "n"})
    client.set("recmesh:{u:session}:history", "")
    output = ingest(smaller, own_redis)
    assert "1 keys that recmesh did not write stay, such as 'recmesh:item:other'" in output
    assert not client.exists("recmesh:item:gone")
    assert client.exists("recmesh:item:other", "recmesh:{u:session}:user", "recmesh:{u:session}:history") == 3


def fill_as_version_0_1_0(client: "redis.Redis", data: DataSet) -> None:
    """Write three users and three items under the keys of version 0.1.0, with the mark of its ingestion."""
    for user_id in data.users["user_id"].cast(str)[:3]:
        client.set(f"user:{user_id}", UserInfo(user_id=user_id, age="old").SerializeToString())
        history = History(sku_ids=["a"], times=[1], types=[0], values=[1.0], type_names=["view"])
        client.set(f"history:{user_id}", history.SerializeToString())
    for sku_id in data.items["sku_id"].cast(str)[:3]:
        client.set(f"item:{sku_id}", ItemInfo(sku_id=sku_id, brand="old").SerializeToString())
    client.hset("ingest:redis", mapping={"owner": "x:y:1", "current": "1"})
    client.hset("ingest:milvus:recmesh_r1", mapping={"owner": "r1:7"})


def test_readers_keep_answering_while_the_keys_of_version_0_1_0_are_replaced(
    data: DataSet, own_redis: RedisServer, client: "redis.Redis"
) -> None:
    fill_as_version_0_1_0(client, data)
    client.hset("user:visitor", mapping={"name": "of the shop"})
    client.set("history:visitor", b"")
    user_id, sku_id = str(data.users["user_id"][0]), str(data.items["sku_id"][0])

    async def read_during(job: "asyncio.Future[str]") -> list[tuple[bytes | None, ...]]:
        reader = RedisReader(own_redis.url)
        answers: list[tuple[bytes | None, ...]] = []
        while not job.done() or len(answers) < 2:
            answers.append((*await reader.get_user(user_id), *await reader.get_items([sku_id])))
        answers.append((*await reader.get_user(user_id), *await reader.get_items([sku_id])))
        await reader.close()
        return answers

    async def upgrade() -> tuple[str, list[tuple[bytes | None, ...]]]:
        job = asyncio.get_running_loop().run_in_executor(None, ingest, data, own_redis)
        answers = await read_during(job)
        return await job, answers

    output, answers = asyncio.run(upgrade())
    profiles = [UserInfo.FromString(profile or b"").age for profile, _, _ in answers]
    assert profiles[0] == "old"
    assert profiles[-1] not in ("old", "")
    assert profiles == sorted(profiles, key=lambda age: age != "old"), "readers went back to the old keys"
    assert all(None not in answer for answer in answers)
    assert "9 keys of version 0.1.0 removed" in output
    others = {key for key in everything(client) if not key.startswith("recmesh:")}
    assert others == {"user:visitor", "history:visitor"}
    assert "removed" not in ingest(data, own_redis)


def test_a_removal_of_the_old_keys_that_was_killed_is_finished_by_the_next_run(
    data: DataSet, own_redis: RedisServer, client: "redis.Redis"
) -> None:
    ingest(data, own_redis)
    fill_as_version_0_1_0(client, data)
    client.rename("ingest:redis", "recmesh:ingest:0.1.0")
    assert "9 keys of version 0.1.0 removed" in ingest(data, own_redis)
    assert all(key.startswith("recmesh:") for key in everything(client))


def test_another_prefix_neither_reads_nor_removes_the_keys_of_version_0_1_0(
    data: DataSet, own_redis: RedisServer, client: "redis.Redis"
) -> None:
    fill_as_version_0_1_0(client, data)
    before = everything(client)
    ingest(data, own_redis, "b:")
    assert {key: value for key, value in everything(client).items() if not key.startswith("b:")} == before

    async def read() -> tuple[bytes | None, bytes | None]:
        reader = RedisReader(own_redis.url, keys=Keys.of("c:"))
        try:
            return await reader.get_user(str(data.users["user_id"][0]))
        finally:
            await reader.close()

    assert asyncio.run(read()) == (None, None)
    assert UNPREFIXED.user("7") == "user:7"
