"""as on the wire: items go into the answer as serialized bytes."""

from typing import Any

from recmesh.chain.chain import Answer, Ask, Chain
from recmesh.errors import InvalidRequest
from recmesh.pb.as_pb2 import ASRequest, ASResponse
from recmesh.serving import deadline
from recmesh.serving.rpc import with_raw_fields
from recmesh.serving.stages import OK

DEFAULT_SIZE = 50
MOST = 200

_Response = with_raw_fields(ASResponse, "item_infos")


class AsServicer:
    """as.ASService."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain

    async def as_call(self, request: ASRequest, _context: Any) -> Any:
        """Recommendations, best first."""
        if request.size > MOST:
            raise InvalidRequest(f"size is {request.size}: at most {MOST}")
        ask = Ask(
            user_id=request.user_id,
            given=request.user_info,
            size=request.size or DEFAULT_SIZE,
            exclude=request.exclude_ids,
            new_only=request.new_only,
            explain=request.explain,
        )
        return _response(await self._chain.answer(ask, deadline.remaining()))


def _response(answer: Answer) -> Any:
    response = _Response(
        error={"code": OK},
        item_infos=[item.info for item in answer.items],
        release=answer.release,
        degraded=answer.degraded,
    )
    for reason in answer.reasons:
        channels = [{"channel": name, "score": score} for name, score in reason.channels]
        response.reasons.add(sku_id=reason.sku_id, channels=channels)
    return response
