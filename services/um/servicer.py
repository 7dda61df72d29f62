"""um on the wire: stored bytes go into the answer as they are."""

from typing import Any

from recmesh.pb.um_pb2 import UserModelRequest, UserModelResponse
from recmesh.serving import deadline
from recmesh.serving.rpc import with_raw_fields
from recmesh.serving.stages import FAILED, OK
from services.um.core import UmCore

_Response = with_raw_fields(UserModelResponse, "user_info", "history")


class UmServicer:
    """um.UMService."""

    def __init__(self, core: UmCore) -> None:
        self._core = core

    async def um_call(self, request: UserModelRequest, _context: Any) -> Any:
        """The user; error 500 where there is none."""
        found = await self._core.fetch(request.user_id, deadline.remaining())
        if found is None:
            text = f"UM server get user_info from redis fail. ({request})"
            return _Response(error={"code": FAILED, "text": text})
        return _Response(error={"code": OK}, user_info=found[0], history=found[1])
