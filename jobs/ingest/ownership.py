"""What belongs to recmesh in a Redis that other applications use as well."""

import time
from collections.abc import Collection, Iterable, Iterator
from itertools import islice

from recmesh.contract import DEFAULT_REDIS_PREFIX
from recmesh.errors import SettingsError
from recmesh.progress import Reporter
from recmesh.stores.keys import UNPREFIXED, KeyKind
from recmesh.stores.redis import KEYS_PER_COMMAND, LAYOUT_SECONDS, RedisWriter

_REDIS = "redis"
_REPLACED = "0.1.0"


def check(redis: RedisWriter) -> None:
    """Check that the prefix is free or ours.

    Raises:
        SettingsError: Another application has keys with our prefix. Nothing was written.
    """
    keys = redis.keys
    found = set(redis.scan(f"{keys.prefix}*"))
    foreign = {key for key in found if keys.foreign(key)}
    if not redis.has_owner(keys.ingest(_REDIS)):  # not ours yet, so that even a key of our form may be another's
        for kind in keys.kinds:
            named = [key for key in found if kind.id_of(key) is not None]
            foreign.update(set(named).difference(_made(redis, kind, named)))
    if foreign:
        raise SettingsError(
            f"Redis {redis.url}: recmesh did not write {len(foreign):,} of the keys that begin with {keys.prefix}, "
            f"such as {min(foreign)!r}; set RECMESH_REDIS_PREFIX to a prefix that no other application uses"
        )


def remove(redis: RedisWriter, kind: KeyKind, known: Collection[str], reporter: Reporter) -> int:
    """Remove the keys of a kind whose ids are not known, unless recmesh did not write them. Returns how many."""
    stale = [key for key in set(redis.scan(kind.pattern)) if kind.id_of(key) not in known]
    ours = list(_made(redis, kind, stale))
    if len(ours) < len(stale):
        other = min(set(stale).difference(ours))
        reporter.say(f"Redis: {len(stale) - len(ours):,} keys that recmesh did not write stay, such as {other!r}")
    return redis.delete(ours)


def remove_unprefixed(redis: RedisWriter, reporter: Reporter) -> None:
    """Remove what version 0.1.0 wrote, which had no prefix, after the services have turned to the new keys."""
    keys, replaced = redis.keys, redis.keys.ingest(_REPLACED)
    if keys.prefix != DEFAULT_REDIS_PREFIX:
        return
    if redis.has_owner(UNPREFIXED.ingest(_REDIS)):
        redis.rename(UNPREFIXED.ingest(_REDIS), replaced)  # readers take its absence as the sign
    if not redis.has_owner(replaced):
        return
    time.sleep(2 * LAYOUT_SECONDS)
    removed = sum(remove(redis, kind, (), reporter) for kind in UNPREFIXED.kinds)
    marks = [key for key in set(redis.scan(UNPREFIXED.ingest("milvus:*"))) if redis.has_owner(key)]
    redis.delete([*marks, replaced])
    reporter.say(f"Redis: {removed:,} keys of version 0.1.0 removed")


def _made(redis: RedisWriter, kind: KeyKind, keys: Iterable[str]) -> Iterator[str]:
    """Those of the keys whose values recmesh made."""
    iterator = iter(keys)
    while chunk := list(islice(iterator, KEYS_PER_COMMAND)):
        for key, value in zip(chunk, redis.read(chunk), strict=True):
            if value is not None and kind.made(kind.id_of(key) or "", value):
                yield key
