"""Looks users up, independently of the transport."""

from typing import Protocol

from recmesh.errors import DamagedData
from recmesh.pb.user_info_pb2 import History, UserInfo
from recmesh.serving import metrics
from recmesh.serving.deadline import within
from recmesh.serving.logs import shortened
from recmesh.serving.stages import RequestUser
from recmesh.stores.wire import is_history, is_user


class UserReader(Protocol):
    """Reads stored users."""

    async def get_user(self, user_id: str) -> tuple[bytes | None, bytes | None]:
        """Serialized UserInfo and History; None for what is not stored."""
        ...


class UmCore:
    """Looks users up, and decodes them as the local `UserStage`."""

    def __init__(self, reader: UserReader) -> None:
        """Read users from `reader`."""
        self._reader = reader

    async def fetch(self, user_id: str, timeout: float) -> tuple[bytes, bytes] | None:
        """Serialized UserInfo and History of a user; None if there is no such user.

        Without actions, the History is empty.

        Raises:
            DamagedData: The stored profile or history is damaged.
            DeadlineExceeded: Redis did not answer within `timeout` seconds.
            Overloaded: No connection to Redis became free in time.
            Unavailable: Redis does not answer.
        """
        profile, history = await within(timeout, "Redis", self._reader.get_user(user_id))
        if profile is None and history is None:
            return None
        _require(profile is None or is_user(user_id, profile), "profile", user_id)
        _require(history is None or is_history(history), "history", user_id)
        return profile or UserInfo(user_id=user_id).SerializeToString(), history or b""

    async def find(self, user_id: str, timeout: float) -> RequestUser | None:
        """See `recmesh.serving.stages.UserStage`."""
        found = await self.fetch(user_id, timeout)
        return RequestUser(UserInfo.FromString(found[0]), History.FromString(found[1])) if found else None


def _require(intact: bool, kind: str, user_id: str) -> None:
    if not intact:
        metrics.DAMAGED_VALUES.labels(kind).inc()
        raise DamagedData(f"Redis holds a damaged {kind} of user {shortened(user_id, 100)}; run the ingestion again")
