"""What feed has changed in Redis, which an ingestion of a data set must leave in place."""

from collections.abc import Callable
from dataclasses import dataclass

from recmesh.contract import user_hash
from recmesh.stores.log import START, STREAMS, entry_of, item_of, user_of
from recmesh.stores.redis import RedisWriter


@dataclass(frozen=True)
class Live:
    """The state of feed's log at some time.

    Attributes:
        users: The users in the log. Their values in Redis are not those of the data set.
        items: The items in the log, likewise.
        hidden: The items that are not offered at the moment, and whether they were removed.
        deleted: The users that were deleted, as `user_hash`.
    """

    users: frozenset[str]
    items: frozenset[str]
    hidden: dict[str, bool]
    deleted: frozenset[bytes]

    @classmethod
    def read(cls, redis: RedisWriter) -> "Live":
        """Read the log."""
        entries = [entry_of(fields) for name in STREAMS for _, fields in redis.stream(redis.keys.log(name, "entries"))]
        keys = sorted(set(redis.scan(redis.keys.hidden.pattern)))
        hidden = {
            redis.keys.hidden.id_of(key) or "": not value for key, value in zip(keys, redis.read(keys), strict=True)
        }
        deleted = frozenset(redis.members(redis.keys.deleted))
        users, items = (frozenset(map(of, entries)) - {""} for of in (user_of, item_of))
        return cls(users, items, hidden, deleted)

    @property
    def is_deleted(self) -> Callable[[str], bool]:
        """Tell whether a user was deleted."""
        if not self.deleted:
            return lambda user_id: False
        return lambda user_id: user_hash(user_id).encode() in self.deleted


def apply_again(redis: RedisWriter) -> None:
    """Have feed apply its log again from the beginning, to what this ingestion has written."""
    for stream in STREAMS:
        applied = redis.keys.log(stream, "applied")
        if redis.count([applied]):
            redis.write({applied: START.encode()})
