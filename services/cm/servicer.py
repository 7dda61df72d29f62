"""cm on the wire: stored bytes are copied into the answer."""

from google.protobuf.message import Message

from recmesh.contract import FAILED, MAX_LOOKED_UP, OK
from recmesh.pb.cm_pb2 import CMRequest, CMResponse
from recmesh.serving import deadline
from recmesh.serving.limits import check_count, check_ids
from recmesh.serving.logs import shortened
from recmesh.serving.rpc import with_raw_fields
from services.cm.core import CmCore

_Response = with_raw_fields(CMResponse, "item_infos")


class CmServicer:
    """Implements cm.CMService."""

    def __init__(self, core: CmCore) -> None:
        """Answer from a core."""
        self._core = core

    async def cm_call(self, request: CMRequest, _context: object) -> Message:
        """The items that exist, and the ids of those that do not; `error.code` 500 if none exists.

        Raises:
            InvalidRequest: There are too many ids, or one is too long.
        """
        ids = request.item_ids
        check_count("item_ids", len(ids), MAX_LOOKED_UP)
        check_ids("item_ids", ids)
        items = await self._core.get(ids, deadline.remaining())
        found = [item for item in items if item is not None]
        missing = [sku_id for sku_id, item in zip(ids, items, strict=True) if item is None]
        if missing and not found:
            text = f"CM server get item_info from redis fail. ({shortened(str(request))})"
            return _Response(error={"code": FAILED, "text": text}, missing_ids=missing)
        return _Response(error={"code": OK}, item_infos=found, missing_ids=missing)
