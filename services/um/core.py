"""What um knows about a user, without any transport."""

from typing import Protocol

from recmesh.pb.user_info_pb2 import History, UserInfo
from recmesh.serving.deadline import within
from recmesh.serving.stages import RequestUser


class UserReader(Protocol):
    """Where users and their histories are kept."""

    async def get_user(self, user_id: str) -> tuple[bytes | None, bytes | None]:
        """Serialized UserInfo and History; None for what is not there."""
        ...


class UmCore:
    """Looks users up. As the local form of the stage `UserStage` it decodes them."""

    def __init__(self, reader: UserReader) -> None:
        self._reader = reader

    async def fetch(self, user_id: str, timeout: float) -> tuple[bytes, bytes] | None:
        """Serialized UserInfo and History (empty: no actions); None where there is no such user."""
        profile, history = await within(timeout, "Redis", self._reader.get_user(user_id))
        if profile is None and history is None:
            return None
        return profile or UserInfo(user_id=user_id).SerializeToString(), history or b""

    async def find(self, user_id: str, timeout: float) -> RequestUser | None:
        """See `recmesh.serving.stages.UserStage`."""
        found = await self.fetch(user_id, timeout)
        return RequestUser(UserInfo.FromString(found[0]), History.FromString(found[1])) if found else None
