"""Looks users up, independently of the transport."""

from typing import NamedTuple, Protocol, TypeVar

from recmesh.errors import DamagedData
from recmesh.pb.user_info_pb2 import History, UserInfo
from recmesh.serving import metrics
from recmesh.serving.deadline import within
from recmesh.serving.logs import shortened
from recmesh.serving.stages import RequestUser
from recmesh.serving.store_calls import StoreCalls
from recmesh.stores.wire import stored_history, stored_user

T = TypeVar("T")

_CALLS = StoreCalls("redis", "user")


class UserReader(Protocol):
    """Reads stored users."""

    async def get_user(self, user_id: str) -> tuple[bytes | None, bytes | None]:
        """Serialized UserInfo and History; None for what is not stored."""
        ...


class StoredUser(NamedTuple):
    """A user as Redis holds it.

    Attributes:
        profile: A serialized UserInfo.
        history: A serialized History; empty without actions.
        decoded: Both as messages.
    """

    profile: bytes
    history: bytes
    decoded: RequestUser


class UmCore:
    """Looks users up: the local `UserStage`."""

    def __init__(self, reader: UserReader) -> None:
        """Read users from `reader`."""
        self._reader = reader

    async def fetch(self, user_id: str, timeout: float) -> StoredUser | None:
        """A stored user; None if there is no such user.

        Raises:
            DamagedData: The stored profile or history is damaged.
            DeadlineExceeded: Redis did not answer within `timeout` seconds.
            Overloaded: No connection to Redis became free in time.
            Unavailable: Redis does not answer.
        """
        with _CALLS.measured():
            profile, history = await within(timeout, "Redis", self._reader.get_user(user_id))
        if profile is None and history is None:
            return None
        user = UserInfo(user_id=user_id)
        if profile is not None:
            user = _intact(stored_user(user_id, profile), "profile", user_id)
        actions = History() if history is None else _intact(stored_history(history), "history", user_id)
        return StoredUser(profile or user.SerializeToString(), history or b"", RequestUser(user, actions))

    async def find(self, user_id: str, timeout: float) -> RequestUser | None:
        """See `recmesh.serving.stages.UserStage`."""
        found = await self.fetch(user_id, timeout)
        return found.decoded if found else None


def _intact(value: T | None, kind: str, user_id: str) -> T:
    if value is None:
        metrics.DAMAGED_VALUES.labels(kind).inc()
        raise DamagedData(f"Redis holds a damaged {kind} of user {shortened(user_id, 100)}; run the ingestion again")
    return value
