"""rank on the wire."""

from typing import Any

from recmesh.pb.rank_pb2 import RankRequest, RankResponse
from recmesh.serving import deadline
from recmesh.serving.stages import OK, RequestUser, ScoreQuery
from services.rank.core import RankCore


class RankServicer:
    """RankService."""

    def __init__(self, core: RankCore) -> None:
        self._core = core

    async def rank_predict(self, request: RankRequest, _context: Any) -> RankResponse:
        """A score for each item."""
        query = ScoreQuery(
            user=RequestUser(request.user_info, request.history),
            ids=request.item_ids,
            items=request.item_infos,
            size=request.size,
            new_only=request.new_only,
            release=request.release,
            affinity=request.affinity,
            ordered=request.ordered,
        )
        found = await self._core.rank(query, deadline.remaining())
        response = RankResponse(error=RankResponse.Error(code=OK), release=found.release, degraded=found.degraded)
        for sku_id, score in zip(found.ids, found.scores, strict=True):
            response.score_pairs.add(nid=sku_id, score=score)
        return response
