"""The keys of recmesh in Redis. All begin with a prefix, since Redis may hold the data of other applications.

<prefix>{u:<id>}:user UserInfo     <prefix>{u:<id>}:history History     <prefix>item:<sku> ItemInfo
<prefix>hidden:<sku> ItemInfo of an item that is not offered at the moment; empty if it was removed
<prefix>{items}:changes            items that came, went or changed, in the order of their latest change
<prefix>deleted                    the users that were deleted, as hashes
<prefix>{log:<stream>}:<part>      the log of feed: see `recmesh.stores.log`
<prefix>{counts}:<part>            counts of the latest actions: see `recmesh.stores.counts`
<prefix>ingest:<target>            progress of an ingestion
<prefix>ingest:latest              what the latest ingestion did
<prefix>ingest:schema              the schema of the data set that was ingested

In a Redis Cluster the part in braces decides about the slot, so that one command can read both keys of a user.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from google.protobuf.message import Message

from recmesh.contract import DEFAULT_REDIS_PREFIX
from recmesh.errors import SettingsError
from recmesh.stores.wire import stored_history, stored_item, stored_user

_PREFIX = re.compile(r"[A-Za-z0-9:._-]{1,64}")


@dataclass(frozen=True)
class KeyKind:
    """The keys of one kind of value.

    Attributes:
        before: What is before the id.
        after: What is after the id.
        made: Whether recmesh made a value for an id.
    """

    before: str
    after: str
    made: Callable[[str, bytes], bool]

    @property
    def pattern(self) -> str:
        """The pattern for SCAN. Prefixes hold nothing that a pattern gives a meaning."""
        return f"{self.before}*{self.after}"

    def __call__(self, identity: str) -> str:
        """Return the key of an id."""
        return f"{self.before}{identity}{self.after}"

    def id_of(self, key: str) -> str | None:
        """Return the id of a key; None if the key is of another kind."""
        if not (key.startswith(self.before) and key.endswith(self.after)):
            return None
        return key[len(self.before) : len(key) - len(self.after)] or None


@dataclass(frozen=True)
class Keys:
    """The keys of one prefix.

    Attributes:
        prefix: What all of them begin with; nothing for those of version 0.1.0.
        user: Keys of users.
        history: Keys of histories.
        item: Keys of items.
        hidden: Keys of items that are not offered.
    """

    prefix: str
    user: KeyKind
    history: KeyKind
    item: KeyKind
    hidden: KeyKind

    @classmethod
    def of(cls, prefix: str = DEFAULT_REDIS_PREFIX) -> "Keys":
        """Return the keys of a prefix.

        Raises:
            SettingsError: The prefix is empty, too long, or has other characters than letters, digits and `:._-`.
        """
        if not _PREFIX.fullmatch(prefix):
            raise SettingsError(f"RECMESH_REDIS_PREFIX {prefix!r}: use 1 to 64 letters, digits and :._-")
        return cls(
            prefix,
            KeyKind(f"{prefix}{{u:", "}:user", _is_user),
            KeyKind(f"{prefix}{{u:", "}:history", _is_history),
            KeyKind(f"{prefix}item:", "", _is_item),
            KeyKind(f"{prefix}hidden:", "", _is_hidden),
        )

    @property
    def kinds(self) -> tuple[KeyKind, ...]:
        """The kinds of data that an ingestion writes, and removes where the data set has them no longer."""
        return (self.item, self.user, self.history)

    @property
    def item_changes(self) -> str:
        """The key of the items that came, went or changed: a sorted set, by the number of the latest change."""
        return f"{self.prefix}{{items}}:changes"

    @property
    def deleted(self) -> str:
        """The key of the users that were deleted: a set of `user_hash`."""
        return f"{self.prefix}deleted"

    def log(self, stream: str, part: str) -> str:
        """Return the key of a part of a stream of the log."""
        return f"{self.prefix}{{log:{stream}}}:{part}"

    def counts(self, part: int | str) -> str:
        """Return the key of a bucket of action counts, or of another part of the counts."""
        return f"{self.prefix}{{counts}}:{part}"

    def ingest(self, target: str) -> str:
        """Return the key of the progress of an ingestion into a target."""
        return f"{self.prefix}ingest:{target}"

    @property
    def latest_ingestion(self) -> str:
        """The key of what the latest ingestion did."""
        return self.ingest("latest")

    @property
    def schema(self) -> str:
        """The key of the schema of the data set that was ingested, and the resolution of its times."""
        return self.ingest("schema")

    def local(self, name: str) -> str:
        """Return a key of the local runner."""
        return f"{self.prefix}local:{name}"

    def foreign(self, key: str) -> bool:
        """Whether recmesh writes no such key."""
        others = (self.ingest(""), self.local(""), self.hidden.before, f"{self.prefix}{{log:", self.counts(""))
        if key in (self.item_changes, self.deleted):
            return False
        return not key.startswith(others) and all(kind.id_of(key) is None for kind in self.kinds)


def _is_user(identity: str, value: bytes) -> bool:
    return _written(stored_user(identity, value), value)


def _is_item(identity: str, value: bytes) -> bool:
    return _written(stored_item(identity, value), value)


def _is_hidden(identity: str, value: bytes) -> bool:
    return not value or _is_item(identity, value)


def _is_history(_identity: str, value: bytes) -> bool:
    return _written(stored_history(value), value)


def _written(message: Message | None, value: bytes) -> bool:
    """Whether recmesh would write a value like this: other messages may parse as well."""
    return message is not None and message.SerializeToString(deterministic=True) == value


UNPREFIXED = Keys(
    "",
    KeyKind("user:", "", _is_user),
    KeyKind("history:", "", _is_history),
    KeyKind("item:", "", _is_item),
    KeyKind("hidden:", "", _is_hidden),  # version 0.1.0 had none
)
"""The keys of version 0.1.0."""
