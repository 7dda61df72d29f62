"""um on the wire: stored bytes are copied into the answer."""

from google.protobuf.message import Message

from recmesh.contract import FAILED, OK
from recmesh.pb.um_pb2 import UserModelRequest, UserModelResponse
from recmesh.serving import deadline
from recmesh.serving.limits import check_ids
from recmesh.serving.rpc import with_raw_fields
from services.um.core import UmCore

_Response = with_raw_fields(UserModelResponse, "user_info", "history")


class UmServicer:
    """Implements um.UMService."""

    def __init__(self, core: UmCore) -> None:
        """Answer from a core."""
        self._core = core

    async def um_call(self, request: UserModelRequest, _context: object) -> Message:
        """The user; `error.code` 500 if there is no such user.

        Raises:
            InvalidRequest: The id is too long.
        """
        check_ids("user_id", [request.user_id])
        found = await self._core.fetch(request.user_id, deadline.remaining())
        if found is None:
            text = f"UM server get user_info from redis fail. ({request})"
            return _Response(error={"code": FAILED, "text": text})
        return _Response(error={"code": OK}, user_info=found.profile, history=found.history)
