"""Looks users up, independently of the transport."""

from typing import Protocol

from recmesh.pb.user_info_pb2 import History, UserInfo
from recmesh.serving.deadline import within
from recmesh.serving.stages import RequestUser


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
            DeadlineExceeded: Redis did not answer within `timeout` seconds.
            Overloaded: No connection to Redis became free in time.
            Unavailable: Redis does not answer.
        """
        profile, history = await within(timeout, "Redis", self._reader.get_user(user_id))
        if profile is None and history is None:
            return None
        return profile or UserInfo(user_id=user_id).SerializeToString(), history or b""

    async def find(self, user_id: str, timeout: float) -> RequestUser | None:
        """See `recmesh.serving.stages.UserStage`."""
        found = await self.fetch(user_id, timeout)
        return RequestUser(UserInfo.FromString(found[0]), History.FromString(found[1])) if found else None
