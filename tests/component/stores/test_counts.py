"""The counts of the latest actions, in a real Redis."""

from collections.abc import AsyncIterator, Sequence
from itertools import count

import pytest

from recmesh.pb.feed_pb2 import Action
from recmesh.pb.log_entry_pb2 import LogEntry
from recmesh.stores.counts import ActionCounts, CountedAction
from recmesh.stores.credentials import NO_CREDENTIALS
from recmesh.stores.keys import Keys
from recmesh.stores.log import Logged
from recmesh.stores.redis import RedisReader
from recmesh.stores.redis_client import RedisClient, open_client
from tests.servers import RedisServer

BUCKET_MS = 300_000
BUCKET = 6_000_000
_prefixes = count()


@pytest.fixture
def keys() -> Keys:
    return Keys.of(f"counts{next(_prefixes)}:")


@pytest.fixture
async def client(redis_server: RedisServer) -> AsyncIterator[RedisClient]:
    async with open_client(redis_server.url, NO_CREDENTIALS, 4, 5.0) as client:
        yield client


@pytest.fixture
async def reader(redis_server: RedisServer, keys: Keys) -> AsyncIterator[RedisReader]:
    reader = RedisReader(redis_server.url, keys=keys)
    yield reader
    await reader.close()


def entry(number: int, sku_id: str, bucket: int = BUCKET, kind: str = "view", value: float = 1.0) -> Logged:
    """An entry whose action arrived in a bucket, `number` milliseconds after its begin."""
    time = bucket * BUCKET_MS + number
    return Logged(f"{time}-0", LogEntry(action=Action(sku_id=sku_id, time=time, type=kind, value=value)))


async def found(reader: RedisReader, bucket: int = BUCKET) -> dict[CountedAction | None, int]:
    return {CountedAction.parse(field): number for field, number in (await reader.counts(bucket)).items()}


async def counter(client: RedisClient, keys: Keys) -> ActionCounts:
    counts = ActionCounts(client, keys)
    await counts.refresh()
    return counts


async def test_actions_count_by_item_type_and_value(client: RedisClient, keys: Keys, reader: RedisReader) -> None:
    counts = await counter(client, keys)
    assert await counts.add(
        {
            "3": [entry(1, "a"), entry(2, "a"), entry(3, "a", kind="order"), entry(4, "b", value=2.5)],
            "7": [entry(1, "a"), entry(2, "c", BUCKET + 1), Logged("9-9", LogEntry(delete_user="u"))],
            "items": [Logged("9-9", LogEntry(hide_item="a"))],
        }
    )
    view = CountedAction("a", "view", 1.0)
    assert await found(reader) == {view: 3, CountedAction("a", "order", 1.0): 1, CountedAction("b", "view", 2.5): 1}
    assert await found(reader, BUCKET + 1) == {CountedAction("c", "view", 1.0): 1}
    assert await reader.counts(BUCKET + 2) == {}


async def test_entries_that_are_applied_again_count_once(client: RedisClient, keys: Keys, reader: RedisReader) -> None:
    """A process dies after it has counted a batch. The next one reads the batch again, with an entry more."""
    batch = [entry(number, "a") for number in (1, 2, 10)]
    dead = await counter(client, keys)
    assert await dead.add({"3": batch})
    heir = await counter(client, keys)
    assert await heir.add({"3": [*batch, entry(11, "b")]})
    assert await heir.add({"3": batch})
    expected = {CountedAction("a", "view", 1.0): 3, CountedAction("b", "view", 1.0): 1}
    assert await found(reader) == expected

    # The dead one was only slow, and still has another stream: nothing of the call counts.
    assert not await dead.add({"3": [entry(11, "b")], "4": [entry(12, "c")]})
    assert await found(reader) == expected
    await dead.refresh()
    assert await dead.add({"3": [entry(11, "b")], "4": [entry(12, "c")]})
    assert await found(reader) == {**expected, CountedAction("c", "view", 1.0): 1}


async def test_buckets_that_are_a_day_older_than_the_newest_are_removed(
    client: RedisClient, keys: Keys, reader: RedisReader
) -> None:
    counts = await counter(client, keys)
    for number, bucket in enumerate((BUCKET, BUCKET + 1, BUCKET + 287)):
        assert await counts.add({"3": [entry(number, "a", bucket)]})
    await _has_buckets(client, keys, reader, [BUCKET, BUCKET + 1, BUCKET + 287])
    assert await counts.add({"3": [entry(0, "a", BUCKET + 288)]})
    await _has_buckets(client, keys, reader, [BUCKET + 1, BUCKET + 287, BUCKET + 288])


async def _has_buckets(client: RedisClient, keys: Keys, reader: RedisReader, buckets: Sequence[int]) -> None:
    assert [bucket for bucket, _ in await reader.changed_counts(0, 1000)] == buckets
    names = {name.decode() async for name in client.redis.scan_iter(f"{keys.counts('')}*")}
    assert names == {*map(keys.counts, buckets), keys.counts("applied"), keys.counts("changes")}


async def test_a_late_action_changes_its_bucket(client: RedisClient, keys: Keys, reader: RedisReader) -> None:
    counts = await counter(client, keys)
    assert await counts.add({"3": [entry(1, "a"), entry(2, "a", BUCKET + 1)]})
    changed = await reader.changed_counts(0, 1000)
    assert sorted(bucket for bucket, _ in changed) == [BUCKET, BUCKET + 1]
    assert changed[0][1] < changed[1][1]
    late = entry(3, "a", BUCKET + 2)
    late.entry.action.time = BUCKET * BUCKET_MS
    assert await counts.add({"3": [late]})
    ((bucket, _),) = await reader.changed_counts(changed[1][1], 1000)
    assert bucket == BUCKET
    assert await found(reader) == {CountedAction("a", "view", 1.0): 2}
