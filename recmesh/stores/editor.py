"""Changes of single values in Redis, by a service while others read them."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple, cast

from recmesh.contract import user_hash
from recmesh.stores.keys import Keys
from recmesh.stores.redis_client import RedisClient


class Change(NamedTuple):
    """A change of a value; None means that there is none.

    Attributes:
        key: The key of the value.
        before: The value as it was read.
        after: The new value.
    """

    key: str
    before: bytes | None
    after: bytes | None


class Editor:
    """Replaces values that nobody has changed since they were read.

    Every method raises Unavailable if Redis does not answer.
    """

    def __init__(self, client: RedisClient, keys: Keys) -> None:
        """Use a client, and names of keys."""
        self._client = client
        self._keys = keys
        self._replace = client.redis.register_script(_REPLACE)
        self._note = client.redis.register_script(_NOTE)

    async def read(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the values of keys; None for a missing one."""
        with self._client.errors():
            return cast("list[bytes | None]", await self._client.redis.mget(keys)) if keys else []

    async def exist(self, keys: Sequence[str]) -> list[bool]:
        """Return for each key whether it exists."""
        with self._client.errors():
            pipeline = self._client.redis.pipeline(transaction=False)
            for key in keys:
                pipeline.exists(key)
            return [bool(found) for found in await pipeline.execute()]

    async def replace(self, changes: Sequence[Change]) -> list[bool]:
        """Make changes, in order.

        Returns:
            For each change whether it was made. Otherwise, the value is no longer what it was before.
        """
        if not changes:
            return []
        with self._client.errors():
            pipeline = self._client.redis.pipeline(transaction=False)
            for change in changes:
                after = (b"delete", b"") if change.after is None else (b"set", change.after)
                await self._replace(keys=[change.key], args=[_digest(change.before), *after], client=pipeline)
            return [bool(made) for made in await pipeline.execute()]

    async def note_deleted(self, user_ids: Sequence[str]) -> None:
        """Keep in mind that users were deleted; see `Keys.deleted`."""
        with self._client.errors():
            await self._client.redis.sadd(self._keys.deleted, *map(user_hash, user_ids))

    async def note_items(self, sku_ids: Sequence[str]) -> None:
        """Tell the readers that items have changed; see `Keys.item_changes`."""
        with self._client.errors():
            await self._note(keys=[self._keys.item_changes], args=sku_ids)


def _digest(value: bytes | None) -> str:
    return "" if value is None else hashlib.sha1(value, usedforsecurity=False).hexdigest()


_REPLACE = """
local value = redis.call('GET', KEYS[1])
if (value and redis.sha1hex(value) or '') ~= ARGV[1] then return 0 end
if ARGV[2] == 'delete' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[3]) end
return 1
"""

# The number of a change is the time of Redis in microseconds, so that it grows even if Redis has lost earlier changes.
_NOTE = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')
local number = math.max(now, (tonumber(last[2]) or 0) + 1)
for position, sku_id in ipairs(ARGV) do redis.call('ZADD', KEYS[1], number + position - 1, sku_id) end
return #ARGV
"""
