"""The users of Redis, each with the commands and keys that it needs, as lines of a Redis access control list.

A service or job has a user of its own. No user may run a command that stops Redis, changes its configuration or its
users, or empties it. `charts/recmesh/files/redis-start.sh` gives the lines to Redis.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias, get_args

from recmesh.contract import DEFAULT_REDIS_PREFIX
from recmesh.errors import SettingsError
from recmesh.stores.keys import UNPREFIXED, Keys

User: TypeAlias = Literal[
    "um", "cm", "recall", "compact", "feed", "ingest", "archive", "controller", "probe", "operator"
]
"""A user of Redis: a service, a job, the probe of the pod of Redis, or a person."""

USERS: tuple[User, ...] = get_args(User)
"""All users."""

PROBE_KEY = "recmesh"
"""What the probe of the pod of Redis asks for. There is no such key."""

MAX_PASSWORDS = 2
"""Passwords that a user has at a time: two during a rotation."""

_READ = "%R~"
_CONNECT = ("ping", "select")
_READS = ("exists", "hexists", "mget")
_COMMANDS: Mapping[User, Sequence[str]] = {
    "um": (*_READS, "hgetall"),
    "cm": _READS,
    "recall": (*_READS, "hgetall", "zrangebyscore"),
    "compact": (*_READS, "hgetall", "zrangebyscore"),
    "feed": (
        *("exists", "hgetall", "mget", "sadd", "xread", "evalsha", "script|exists", "script|load"),
        *("del", "get", "hget", "hincrby", "hset", "set", "time", "unlink"),  # of scripts, like those that follow
        *("xadd", "zadd", "zrange", "zrem", "zremrangebyscore", "zrevrange"),
    ),
    "ingest": (
        *("exists", "hdel", "hexists", "hgetall", "hset", "mget", "mset", "rename", "scan", "smembers", "type"),
        *("unlink", "xrange", "eval", "del", "hget", "hsetnx"),
    ),
    "archive": ("mget", "xrange", "xtrim"),
    "controller": ("hgetall",),
    # The exporter of metrics logs in as it.
    "probe": ("exists", "info", "slowlog|get", "slowlog|len", "latency|latest"),
}
# What "dangerous" does not cover: code that stays in Redis, or stops others.
_OPERATOR = (
    *("+@all", "-@admin", "-@dangerous", "-function", "-script|flush", "-script|kill"),
    *("+info", "+client|list", "+slowlog|get", "+slowlog|len", "+latency|latest"),
)


def rules(user: User, keys: Keys) -> tuple[str, ...]:
    """Return what a user may do, as rules of `ACL SETUSER`.

    Args:
        user: The user.
        keys: The names of the keys. With the default prefix, the keys of version 0.1.0 belong to them.
    """
    commands = _OPERATOR if user == "operator" else ("-@all", *(f"+{name}" for name in (*_CONNECT, *_COMMANDS[user])))
    return (*_patterns(user, keys), *commands)


def users_file(passwords: Mapping[User, Sequence[str]], prefix: str = DEFAULT_REDIS_PREFIX) -> str:
    """Return the users as lines of a Redis access control list, with hashes of their passwords.

    The default user is off: a client without a name gets nothing.

    Args:
        passwords: The passwords of each user, one, or two during a rotation.
        prefix: What the keys of recmesh begin with.

    Raises:
        SettingsError: The prefix is invalid, there is no such user, or a user has no password, an empty one, or more
            than two.
    """
    keys = Keys.of(prefix)
    lines = [_line("default", ("off", "resetpass"), ("resetkeys", "-@all"))]
    for user, given in passwords.items():
        if user not in USERS:
            raise SettingsError(f"Redis has no user {user!r}: use {', '.join(USERS)}")
        if not 0 < len(given) <= MAX_PASSWORDS or not all(given):
            raise SettingsError(
                f"the Redis user {user} needs one password, or two during a rotation, that are not empty"
            )
        lines.append(_line(user, ("on", *map(_hashed, given)), rules(user, keys)))
    return "".join(lines)


def _line(user: str, state: Sequence[str], allowed: Sequence[str]) -> str:
    return " ".join(("user", user, *state, "resetchannels", *allowed)) + "\n"


def _hashed(password: str) -> str:
    return f"#{hashlib.sha256(password.encode()).hexdigest()}"


def _patterns(user: User, keys: Keys) -> Sequence[str]:
    """The rules of a user's keys: `%R~` is before those that it may only read, `~` before the others."""
    legacy = UNPREFIXED if keys.prefix == DEFAULT_REDIS_PREFIX else None
    match user:
        case "probe":
            return (f"{_READ}{PROBE_KEY}",)
        case "archive":
            return (f"~{keys.log('*', '*')}",)
        case "controller":
            return (f"{_READ}{keys.latest_ingestion}",)
        case "feed":
            return (*(f"~{pattern}" for pattern in _changed(keys)), f"{_READ}{keys.ingest('*')}")
        case "ingest" | "operator":
            unprefixed = (*(kind.pattern for kind in legacy.kinds), legacy.ingest("*")) if legacy else ()
            return tuple(f"~{pattern}" for pattern in (f"{keys.prefix}*", *unprefixed))
        case _:
            live = () if user in ("um", "cm") else (keys.item_changes, keys.counts("*"))
            old = _served(user, legacy) if legacy else ()
            return tuple(f"{_READ}{pattern}" for pattern in (*_served(user, keys), *live, *old))


def _served(user: User, keys: Keys) -> Sequence[str]:
    """The values that a service reads, and the progress of ingestions."""
    users, items = (keys.user.pattern, keys.history.pattern), (keys.item.pattern,)
    kinds = {"um": users, "cm": items, "recall": items, "compact": (*users, *items)}
    return (*kinds[user], keys.ingest("*"))


def _changed(keys: Keys) -> Sequence[str]:
    """What feed writes."""
    values = (kind.pattern for kind in (*keys.kinds, keys.hidden))
    return (*values, keys.item_changes, keys.deleted, keys.log("*", "*"), keys.counts("*"))
