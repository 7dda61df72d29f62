"""rank on the wire."""

from recmesh.contract import OK, RELEASE
from recmesh.pb.rank_pb2 import RankRequest, RankResponse
from recmesh.serving import deadline
from recmesh.serving.stages import RequestUser, ScoreQuery
from services.rank.core import RankCore


class RankServicer:
    """Implements RankService."""

    def __init__(self, core: RankCore) -> None:
        """Answer from a core."""
        self._core = core

    async def rank_predict(self, request: RankRequest, _context: object) -> RankResponse:
        """The items with their scores, best first."""
        query = ScoreQuery(
            user=RequestUser(request.user_info, request.history),
            ids=request.item_ids,
            items=request.item_infos,
            size=request.size,
            new_only=request.new_only,
            release=request.release,
            debiased=request.affinity,
            ordered=request.ordered,
            explain=request.explain,
            vectors=request.with_vectors,
        )
        scored = await self._core.rank(query, deadline.remaining())
        response = RankResponse(
            error=RankResponse.Error(code=OK),
            release=scored.release,
            degraded=scored.degraded,
            vectors=scored.vectors,
        )
        if request.release not in ("", scored.release):
            response.degraded.append(RELEASE)
        for sku_id, score in zip(scored.ids, scored.scores, strict=True):
            response.score_pairs.add(nid=sku_id, score=score)
        for group, effects in scored.effects.items():
            response.features.add(group=group, effects=effects)
        return response
