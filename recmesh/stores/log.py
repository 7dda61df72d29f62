"""The log of feed, in Redis streams: what was recorded, in order, before it is applied to the other stores.

Users are spread over `USER_STREAMS` streams by a hash of their id, so that the entries of one user are in one stream,
in order. Items have a stream of their own. In a Redis Cluster, the parts of a stream share a slot:

    {log:<stream>}:entries   the stream; each entry has one field, a serialized LogEntry
    {log:<stream>}:events    the event ids of the latest entries, with the time at which they came
    {log:<stream>}:lease     the process that applies the stream
    {log:<stream>}:applied   the id of the last entry that has been applied
"""

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from google.protobuf.message import DecodeError
from redis.commands.core import AsyncScript

from recmesh.pb.log_entry_pb2 import LogEntry
from recmesh.stores.keys import Keys
from recmesh.stores.redis_client import RedisClient

USER_STREAMS = 16
ITEMS = "items"
"""The stream of the items."""

STREAMS = (*map(str, range(USER_STREAMS)), ITEMS)
"""All streams."""

START = "0-0"
"""The id before the first entry."""

_FIELD = b"e"
_EVENT_BYTES = 12


def stream_of(user_id: str) -> str:
    """Return the stream of a user."""
    return str(zlib.crc32(user_id.encode()) % USER_STREAMS)


@dataclass(frozen=True)
class Draft:
    """An entry that is to be appended.

    Attributes:
        stream: Where.
        entry: The entry.
        event: Identifies it among the entries of the stream; empty if it may occur several times.
    """

    stream: str
    entry: LogEntry
    event: bytes = b""

    @staticmethod
    def event_of(user_id: str, event_id: str) -> bytes:
        """Return the `event` of a user's event id: a hash, as there may be millions."""
        return hashlib.blake2b(f"{user_id}\0{event_id}".encode(), digest_size=_EVENT_BYTES).digest()


@dataclass(frozen=True)
class Logged:
    """An entry in the log.

    Attributes:
        position: Its id, `<milliseconds>-<number>`.
        entry: The entry; without a change if it is damaged.
    """

    position: str
    entry: LogEntry

    @property
    def time(self) -> int:
        """When Redis accepted it, in milliseconds since 1970."""
        return int(self.position.partition("-")[0])


class Log:
    """Appends and reads entries. Every method raises Unavailable if Redis does not answer."""

    def __init__(self, client: RedisClient, keys: Keys, event_window: float) -> None:
        """Use a client.

        Args:
            client: The client.
            keys: The names of the keys.
            event_window: Seconds for which event ids are remembered.
        """
        self._client = client
        self._keys = keys
        self._window_ms = int(event_window * 1000)
        self._append, self._take, self._advance, self._leave = map(
            client.redis.register_script, (_APPEND, _TAKE, _ADVANCE, _LEAVE)
        )

    async def append(self, stream: str, drafts: Sequence[Draft]) -> list[bool]:
        """Append entries to a stream, in one atomic step.

        Args:
            stream: The stream.
            drafts: Its entries.

        Returns:
            For each entry whether it is new. Otherwise, an entry with the same event was there before.
        """
        arguments = [
            word for draft in drafts for word in (draft.event, draft.entry.SerializeToString(deterministic=True))
        ]
        keys = [self._keys.log(stream, "entries"), self._keys.log(stream, "events")]
        with self._client.errors():
            new = await self._append(keys=keys, args=[self._window_ms, *arguments])
        return [bool(flag) for flag in new]

    async def read(self, after: Mapping[str, str], count: int, seconds: float) -> dict[str, list[Logged]]:
        """Return the next entries of streams, without those that have none.

        Args:
            after: The position in each stream after which to read.
            count: At most so many of each stream.
            seconds: How long to wait if no stream has one.
        """
        names = {self._keys.log(stream, "entries"): stream for stream in after}
        places: dict[Any, Any] = {name: after[stream] for name, stream in names.items()}
        with self._client.errors():
            found = await self._client.redis.xread(places, count=count, block=max(1, int(seconds * 1000)))
        # The stubs are those of protocol 3.
        entries = cast("list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]]", found or [])
        return {
            names[name.decode()]: [Logged(position.decode(), entry_of(fields)) for position, fields in read]
            for name, read in entries
        }

    async def take(self, streams: Sequence[str], owner: str, seconds: float) -> dict[str, str]:
        """Become, or stay, the process that applies streams.

        Args:
            streams: The streams.
            owner: Identifies the process.
            seconds: After this time, others may take them.

        Returns:
            The position up to which each stream has been applied, without the streams that another process has.
        """
        answers = await self._on_each(self._take, dict.fromkeys(streams, (owner, int(seconds * 1000))))
        return {stream: applied.decode() for stream, applied in answers.items() if applied}

    async def advance(self, owner: str, steps: Mapping[str, tuple[str, str]]) -> set[str]:
        """Record up to where streams have been applied.

        Args:
            owner: Identifies the process.
            steps: The position before and the new one, by stream.

        Returns:
            The streams for which it was recorded. Another process has the others, or somebody has set them back.
        """
        answers = await self._on_each(self._advance, {stream: (owner, *step) for stream, step in steps.items()})
        return {stream for stream, recorded in answers.items() if recorded}

    async def leave(self, streams: Sequence[str], owner: str) -> None:
        """Let others take streams at once."""
        await self._on_each(self._leave, dict.fromkeys(streams, (owner,)))

    async def _on_each(self, script: AsyncScript, arguments: Mapping[str, Sequence[str | int]]) -> dict[str, Any]:
        """Run a script on lease and position of streams, each with its arguments. Returns the answers by stream."""
        with self._client.errors():
            pipeline = self._client.redis.pipeline(transaction=False)
            for stream, words in arguments.items():
                keys = [self._keys.log(stream, "lease"), self._keys.log(stream, "applied")]
                await script(keys=keys, args=words, client=pipeline)
            return dict(zip(arguments, await pipeline.execute(), strict=True))


def user_of(entry: LogEntry) -> str:
    """Return the user whom an entry changes; empty if it changes none."""
    return entry.action.user_id or entry.put_user.user_id or entry.delete_user


def item_of(entry: LogEntry) -> str:
    """Return the item that an entry changes; empty if it changes none."""
    return entry.put_item.sku_id or entry.remove_item or entry.show_item or entry.hide_item


def entry_of(fields: Mapping[bytes, bytes]) -> LogEntry:
    """Return an entry as the stream holds it; without a change if it is damaged."""
    try:
        return LogEntry.FromString(fields[_FIELD])
    except (KeyError, DecodeError):
        return LogEntry()


# Redis' own clock, so that all processes agree.
_APPEND = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[1])
local new = {}
for i = 2, #ARGV, 2 do
  local first = ARGV[i] == '' or redis.call('ZADD', KEYS[2], 'NX', now, ARGV[i]) == 1
  if first then redis.call('XADD', KEYS[1], '*', 'e', ARGV[i + 1]) end
  new[#new + 1] = first and 1 or 0
end
return new
"""

_TAKE = """
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return false end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return redis.call('GET', KEYS[2]) or '0-0'
"""

_ADVANCE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if (redis.call('GET', KEYS[2]) or '0-0') ~= ARGV[2] then return 0 end
redis.call('SET', KEYS[2], ARGV[3])
return 1
"""

_LEAVE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
"""
