"""Counts of the latest actions in Redis: how often items were acted on, in buckets of five minutes.

feed counts each entry of its log once, and keeps the buckets of a day before the newest one. No count has a user. In a
Redis Cluster, all keys share a slot:

    {counts}:<number>    a bucket, by its number since 1970: how many actions there were, by `CountedAction`
    {counts}:changes     the buckets, by the number of their latest change
    {counts}:applied     for each stream of the log the id of the last entry that is in the counts
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

from recmesh.contract import COUNT_BUCKET_MS, COUNT_BUCKETS
from recmesh.pb.feed_pb2 import Action
from recmesh.stores.keys import Keys
from recmesh.stores.log import START, Logged
from recmesh.stores.redis_client import RedisClient

_DAY_MS = COUNT_BUCKETS * COUNT_BUCKET_MS
_SEPARATOR = "\0"


class CountedAction(NamedTuple):
    """What actions are counted by. Their weights follow from type and value, by the rules of a release.

    Attributes:
        sku_id: The item.
        type: The type of the actions.
        value: Their value.
    """

    sku_id: str
    type: str
    value: float

    @property
    def field(self) -> str:
        """The name of the field in a bucket. Nine digits tell all 32-bit floats apart."""
        return _SEPARATOR.join((self.type, f"{self.value:.9g}", self.sku_id))

    @classmethod
    def parse(cls, field: str) -> "CountedAction | None":
        """Return what `field` stands for; None if it is damaged."""
        try:
            kind, value, sku_id = field.split(_SEPARATOR, 2)
            return cls(sku_id, kind, float(value))
        except ValueError:
            return None


def bucket_of(action: Action, arrival: int) -> int | None:
    """Return the number of the bucket in which an action counts; None if it is a day old or older.

    An action from the future counts at its arrival; so does one without a time of day, if it is of that day.

    Args:
        action: With its time.
        arrival: When the log accepted it, in milliseconds since 1970.
    """
    age = arrival - action.time
    if age >= _DAY_MS:
        return None
    time = arrival if age < 0 or not action.time % _DAY_MS else action.time
    return time // COUNT_BUCKET_MS


class ActionCounts:
    """Counts the actions of the log. Every method raises Unavailable if Redis does not answer."""

    def __init__(self, client: RedisClient, keys: Keys) -> None:
        """Use a client, and names of keys."""
        self._client = client
        self._keys = keys
        self._count = client.redis.register_script(_COUNT)
        self._applied: dict[str, str] = {}

    async def refresh(self) -> None:
        """Read up to where the streams are in the counts: other processes may have counted."""
        with self._client.errors():
            found = cast("dict[bytes, bytes]", await self._client.redis.hgetall(self._keys.counts("applied")))
        self._applied = {stream.decode(): position.decode() for stream, position in found.items()}

    async def add(self, logged: Mapping[str, Sequence[Logged]]) -> bool:
        """Count the actions among entries of streams, without those that are in the counts already.

        Returns:
            Whether they are in the counts now. Otherwise another process has counted meanwhile: `refresh`.
        """
        buckets, steps = defaultdict[int, Counter[str]](Counter), dict[str, str]()
        for stream, entries in logged.items():
            after = _order(self._applied.get(stream, START))
            for each in entries:
                if not each.entry.HasField("action") or _order(each.position) <= after:
                    continue
                action = each.entry.action
                if (bucket := bucket_of(action, each.time)) is not None:
                    buckets[bucket][CountedAction(action.sku_id, action.type, action.value).field] += 1
                    steps[stream] = each.position
        return not steps or await self._add(buckets, steps)

    async def _add(self, buckets: Mapping[int, Counter[str]], steps: Mapping[str, str]) -> bool:
        words: list[str | int] = [COUNT_BUCKETS, len(steps)]
        for stream, position in steps.items():
            words += (stream, self._applied.get(stream, ""), position)
        for bucket, counts in buckets.items():
            words += (bucket, len(counts))
            for field, count in counts.items():
                words += (field, count)
        keys = [*map(self._keys.counts, ("applied", "changes", "")), *map(self._keys.counts, buckets)]
        with self._client.errors():
            if not await self._count(keys=keys, args=words):
                return False
        self._applied.update(steps)
        return True


def _order(position: str) -> tuple[int, int]:
    time, _, number = position.partition("-")
    return int(time), int(number)


# The number of a change is the time of Redis, so that it grows even if Redis has lost earlier changes.
_COUNT = """
local kept, streams = tonumber(ARGV[1]), tonumber(ARGV[2])
for at = 3, streams * 3, 3 do
  if (redis.call('HGET', KEYS[1], ARGV[at]) or '') ~= ARGV[at + 1] then return 0 end
end
for at = 3, streams * 3, 3 do redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 2]) end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local last = redis.call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')
local number = math.max(now, (tonumber(last[2]) or 0) + 1)
local at, started = 3 + streams * 3, false
for key = 4, #KEYS do
  local bucket, fields = ARGV[at], tonumber(ARGV[at + 1])
  for field = at + 2, at + fields * 2, 2 do redis.call('HINCRBY', KEYS[key], ARGV[field], ARGV[field + 1]) end
  if redis.call('ZADD', KEYS[2], number, bucket) == 1 then started = true end
  number, at = number + 1, at + 2 + fields * 2
end
if started then
  local buckets, newest = redis.call('ZRANGE', KEYS[2], 0, -1), 0
  for _, bucket in ipairs(buckets) do newest = math.max(newest, tonumber(bucket)) end
  for _, bucket in ipairs(buckets) do
    if tonumber(bucket) <= newest - kept then
      redis.call('UNLINK', KEYS[3] .. bucket)
      redis.call('ZREM', KEYS[2], bucket)
    end
  end
end
return 1
"""
