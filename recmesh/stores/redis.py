"""Users, histories and items in Redis, as serialized protobuf messages. `keys` has the names."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, cast
from urllib.parse import urlsplit

import redis

from recmesh import spans
from recmesh.contract import DEFAULT_REDIS_PREFIX, without_credentials
from recmesh.errors import Overloaded, Unavailable
from recmesh.numbers import parse_number
from recmesh.stores import redis_login
from recmesh.stores.credentials import NO_CREDENTIALS, Credentials
from recmesh.stores.keys import UNPREFIXED, Keys
from recmesh.stores.redis_connections import Connections, Valid
from recmesh.stores.redis_errors import settings_errors, store_errors

KEYS_PER_COMMAND = 2_000
"""Keys in an MSET, MGET, EXISTS or UNLINK of the writer. 2 M keys load in 4.5 s, but in 20 s with pipelined SETs."""

_DEFAULT_PORT = 6379

LAYOUT_SECONDS = 1.0
"""How often a reader looks whether an ingestion has replaced the keys of version 0.1.0."""


class RedisReader:
    """Asynchronous reads for the services, within an event loop.

    Values are raw bytes: services copy them into answers without decoding.

    Reads raise Overloaded if no connection becomes free in time, and Unavailable if Redis does not answer.

    After an upgrade from version 0.1.0, the default prefix reads the keys of that version until the first ingestion.
    """

    def __init__(
        self,
        url: str,
        connections: int = 16,
        timeout: float = 1.0,
        keys: Keys | None = None,
        credentials: Credentials = NO_CREDENTIALS,
    ) -> None:
        """Prepare the connections; they are opened on demand.

        Args:
            url: `redis://host:port/db`.
            connections: The size of the pool. Further calls wait.
            timeout: Seconds to wait for a connection, and then for the answer.
            keys: The names of the keys; by default those of the default prefix.
            credentials: User and password; by default those in the URL.

        Raises:
            SettingsError: If the URL is invalid, or has credentials although others are given.
        """
        with settings_errors(url):
            self._connections = Connections(url, credentials, connections, timeout)
        self._url = without_credentials(url)
        self._database = {"db.system.name": "redis", **_server(url)}
        self._keys = keys or Keys.of()
        self._layout: Keys | None = None if self._keys.prefix == DEFAULT_REDIS_PREFIX else self._keys
        self._next_look = 0.0

    async def get_user(self, user_id: str) -> tuple[bytes | None, bytes | None]:
        """Return the UserInfo and the History of a user; None for a missing value."""
        keys = await self._current_keys()
        profile, history = await self._mget([keys.user(user_id), keys.history(user_id)])
        return profile, history

    async def get_items(self, sku_ids: Sequence[str]) -> list[bytes | None]:
        """Return the ItemInfo of each item, in the order of the ids; None for a missing item."""
        if not sku_ids:
            return []
        keys = await self._current_keys()
        return await self._mget([keys.item(sku_id) for sku_id in sku_ids])

    async def latest_ingestion(self) -> dict[str, float]:
        """Return what the latest ingestion did; nothing before the first one.

        It has its `time` in seconds since 1970, its duration in `seconds`, and numbers of actions as `rows.<outcome>`.
        """
        words: list[bytes] = await self._command("HGETALL", self._keys.latest_ingestion, valid=_is_hash)
        texts = [word.decode(errors="replace") for word in words]
        numbers = {name: parse_number(text) for name, text in zip(texts[::2], texts[1::2], strict=True)}
        return {name: number for name, number in numbers.items() if not math.isnan(number)}

    async def changed_items(self, after: int, count: int) -> list[tuple[str, int]]:
        """Return the ids of items that feed has changed, each with the number of its latest change, in that order.

        Args:
            after: Only changes with higher numbers.
            count: At most so many.
        """
        return await self._changes(self._keys.item_changes, after, count)

    async def changed_counts(self, after: int, count: int) -> list[tuple[int, int]]:
        """Return the numbers of changed buckets of action counts, each with that of its latest change, in that order.

        Args:
            after: Only changes with higher numbers.
            count: At most so many.
        """
        found = await self._changes(self._keys.counts("changes"), after, count)
        return [(int(bucket), number) for bucket, number in found if bucket.isdecimal()]

    async def counts(self, bucket: int) -> dict[str, int]:
        """Return a bucket of action counts by `recmesh.stores.counts.CountedAction.field`; empty if it is gone."""
        words: list[bytes] = await self._command("HGETALL", self._keys.counts(bucket), valid=_is_hash)
        pairs = zip(words[::2], words[1::2], strict=True)
        return {field.decode(errors="replace"): int(count) for field, count in pairs if count.isdigit()}

    async def _changes(self, key: str, after: int, count: int) -> list[tuple[str, int]]:
        words: list[bytes] = await self._command(
            "ZRANGEBYSCORE", key, f"({after}", "+inf", "WITHSCORES", "LIMIT", "0", str(count), valid=_is_hash
        )
        texts = [word.decode(errors="replace") for word in words]
        return [(member, int(float(number))) for member, number in zip(texts[::2], texts[1::2], strict=True)]

    async def ping(self) -> None:
        """Wait until Redis answers a read. It refuses PING while its disk is full, although it can be read."""
        await self._command("EXISTS", self._keys.ingest("redis"), valid=_is_integer)

    async def close(self) -> None:
        """Close all connections."""
        await self._connections.close()

    async def _current_keys(self) -> Keys:
        """The keys of the prefix, or those of version 0.1.0 as long as its ingestion is the latest."""
        layout = self._layout
        if layout is self._keys or (layout is not None and time.monotonic() < self._next_look):
            return layout
        self._next_look = time.monotonic() + LAYOUT_SECONDS
        self._layout = UNPREFIXED if await self._has_unprefixed() else self._keys
        return self._layout

    async def _has_unprefixed(self) -> bool:
        try:
            return bool(await self._command("HEXISTS", UNPREFIXED.ingest("redis"), "owner", valid=_is_integer))
        except Unavailable as error:
            # The key is another application's, or this user may not read it.
            if isinstance(error.__cause__, redis.ResponseError):
                return False
            raise

    async def _mget(self, keys: Sequence[str]) -> list[bytes | None]:
        def valid(answer: Any) -> bool:
            complete = isinstance(answer, list) and len(answer) == len(keys)
            return complete and all(value is None or isinstance(value, bytes) for value in answer)

        return cast("list[bytes | None]", await self._command("MGET", *keys, valid=valid, keys=len(keys)))

    async def _command(self, *words: str, valid: Valid, keys: int = 1) -> Any:
        operation = {**self._database, "db.operation.name": words[0], spans.KEYS: keys}
        try:
            with store_errors(self._url), spans.span(words[0], operation, spans.Kind.CLIENT):
                return await self._connections.command(*words, valid=valid)
        except Overloaded as error:
            raise Overloaded(f"Redis {self._url}: {error}") from error


class RedisWriter:
    """Synchronous access for the jobs, in chunks. Every method raises Unavailable if Redis does not answer.

    Attributes:
        url: The URL, without credentials.
        keys: The names of the keys.
    """

    def __init__(
        self,
        url: str,
        timeout: float = 30.0,
        keys: Keys | None = None,
        credentials: Credentials = NO_CREDENTIALS,
    ) -> None:
        """Prepare a client.

        Args:
            url: `redis://host:port/db`.
            timeout: In seconds.
            keys: The names of the keys; by default those of the default prefix.
            credentials: User and password; by default those in the URL.

        Raises:
            SettingsError: If the URL is invalid, or has credentials although others are given.
        """
        with settings_errors(url):
            self._redis = redis.Redis.from_url(
                url,
                **redis_login.options(url, credentials, asynchronous=False),
                socket_timeout=timeout,
                socket_connect_timeout=5.0,
            )
        self.url = without_credentials(url)
        self.keys = keys or Keys.of()

    def close(self) -> None:
        """Close all connections."""
        self._redis.close()

    def ping(self) -> None:
        """Wait for an answer from Redis."""
        with store_errors(self.url):
            self._redis.ping()

    def write(self, pairs: Mapping[str, bytes]) -> None:
        """Set the values of keys."""
        with store_errors(self.url):
            iterator = iter(pairs.items())
            while chunk := dict(islice(iterator, KEYS_PER_COMMAND)):
                self._redis.mset(chunk)

    def read(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the values of keys; None for a missing key."""
        with store_errors(self.url):
            return [value for chunk in _chunks(keys) for value in cast("list[bytes | None]", self._redis.mget(chunk))]

    def count(self, keys: Sequence[str]) -> int:
        """Return how many of the keys exist."""
        with store_errors(self.url):
            return sum(int(self._redis.exists(*chunk)) for chunk in _chunks(keys))

    def delete(self, keys: Sequence[str]) -> int:
        """Delete keys and return how many existed. Redis frees the memory in the background."""
        with store_errors(self.url):
            return sum(int(self._redis.unlink(*chunk)) for chunk in _chunks(keys))

    def scan(self, pattern: str) -> Iterator[str]:
        """Yield all keys that match a pattern, in no particular order. A key may be repeated."""
        with store_errors(self.url):
            for key in self._redis.scan_iter(match=pattern, count=KEYS_PER_COMMAND):
                yield cast(bytes, key).decode(errors="backslashreplace")

    def stream(self, name: str, after: str = "0-0") -> Iterator[tuple[str, Mapping[bytes, bytes]]]:
        """Yield the position and the fields of each entry of a stream, in order; none if it does not exist.

        Args:
            name: The key of the stream.
            after: Only entries after this position.
        """
        with store_errors(self.url):
            while chunk := self._redis.xrange(name, f"({after}", "+", KEYS_PER_COMMAND):
                for position, fields in cast("list[tuple[bytes, dict[bytes, bytes]]]", chunk):
                    after = position.decode()
                    yield after, fields

    def trim(self, name: str, position: str) -> int:
        """Remove the entries of a stream before a position. Returns how many."""
        with store_errors(self.url):
            return int(self._redis.xtrim(name, minid=position, approximate=False))

    def members(self, name: str) -> set[bytes]:
        """Return the members of a set; none if it does not exist."""
        with store_errors(self.url):
            return cast("set[bytes]", self._redis.smembers(name))

    def has_owner(self, name: str) -> bool:
        """Return whether a key is a hash that was claimed."""
        with store_errors(self.url):
            return self._redis.type(name) == b"hash" and bool(self._redis.hexists(name, "owner"))

    def rename(self, name: str, other: str) -> None:
        """Give a key another name."""
        with store_errors(self.url):
            self._redis.rename(name, other)

    def hash(self, name: str) -> dict[str, str]:
        """Return all fields of a hash; none if it does not exist."""
        with store_errors(self.url):
            fields = cast("dict[bytes, bytes]", self._redis.hgetall(name))
        return {key.decode(): value.decode() for key, value in fields.items()}

    def claim(self, name: str, owner: str) -> None:
        """Make `owner` the owner of the hash `name`. In the same atomic step, a hash of another owner is emptied."""
        with store_errors(self.url):
            self._redis.eval(_CLAIM, 1, name, owner)

    def set_once(self, name: str, owner: str, field: str, value: str) -> str:
        """Claim a hash, set a field that it does not have, and return the field, all in one atomic step."""
        with store_errors(self.url):
            return cast(bytes, self._redis.eval(_SET_ONCE, 1, name, owner, field, value)).decode()

    def set_fields(self, name: str, fields: Mapping[str, str | int]) -> None:
        """Set fields of a hash."""
        with store_errors(self.url):
            self._redis.hset(name, mapping={field: str(value) for field, value in fields.items()})

    def delete_fields(self, name: str, fields: Sequence[str]) -> None:
        """Delete fields of a hash."""
        with store_errors(self.url):
            self._redis.hdel(name, *fields)


def _is_hash(answer: Any) -> bool:
    return isinstance(answer, list) and len(answer) % 2 == 0 and all(isinstance(word, bytes) for word in answer)


def _server(url: str) -> spans.Attributes:
    parts = urlsplit(url)
    return spans.server(f"{parts.hostname}:{parts.port or _DEFAULT_PORT}") if parts.hostname else {}


def _is_integer(answer: Any) -> bool:
    return isinstance(answer, int)


_CLAIM = """
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'owner', ARGV[1])
end
"""

_SET_ONCE = f"""{_CLAIM}
redis.call('HSETNX', KEYS[1], ARGV[2], ARGV[3])
return redis.call('HGET', KEYS[1], ARGV[2])
"""


def _chunks(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    return (keys[start : start + KEYS_PER_COMMAND] for start in range(0, len(keys), KEYS_PER_COMMAND))
