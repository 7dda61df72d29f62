"""recall on the wire."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from recmesh.errors import InvalidRequest
from recmesh.pb.recall_pb2 import RecallRequest, RecallResponse
from recmesh.serving import deadline
from recmesh.serving.stages import FAILED, OK, CandidateList, CandidateQuery, RequestUser
from services.recall.core import TWO_TOWER, AllChannelsAway, RecallCore

DEFAULT_SIZE = 100
MOST = 1_000

# Fields of the contract that the seed system did not have are numbered from here.
_FIRST_ADDITION = 16


class RecallServicer:
    """recall.RecallService."""

    def __init__(self, core: RecallCore) -> None:
        self._core = core

    async def recall(self, request: RecallRequest, _context: Any) -> RecallResponse:
        """Candidates, best first; error 500 where no channel that was asked could answer."""
        if request.request_num > MOST:
            raise InvalidRequest(f"request_num is {request.request_num}: at most {MOST}")
        query = CandidateQuery(
            user=RequestUser(request.user_info, request.history),
            size=request.request_num or DEFAULT_SIZE,
            channel=request.recall_type,
            exclude=request.exclude_ids,
            new_only=request.new_only,
            release=request.release,
            explain=request.explain or not request.columnar,
        )
        try:
            found = await self._core.recall(query, deadline.remaining())
        except AllChannelsAway:
            return _failed(request)
        return _response(found, request.columnar, query.explain)


def _response(found: CandidateList, columnar: bool, explain: bool) -> RecallResponse:
    response = RecallResponse(
        error=RecallResponse.Error(code=OK),
        release=found.release,
        degraded=found.degraded,
        unlisted_ids=found.unlisted,
        new_only=found.new_only,
    )
    if explain:
        for name, part in found.channels.items():
            # From lists: several times faster than from arrays.
            response.channels.add(name=name, positions=_list(part.positions), scores=_list(part.scores))
    if columnar:
        response.candidates.ids.extend(found.ids)
        response.candidates.scores.extend(found.scores)
    else:
        for sku_id, score in zip(found.ids, found.scores, strict=True):
            response.score_pairs.add(nid=sku_id, score=score)
    return response


def _list(values: Iterable[Any]) -> Any:
    return np.asarray(values).tolist()


def _failed(request: RecallRequest) -> RecallResponse:
    """The seed system's error, which prints the request: here without what was added to it since."""
    seed = RecallRequest()
    seed.CopyFrom(request)
    for field in RecallRequest.DESCRIPTOR.fields:
        if field.number >= _FIRST_ADDITION:
            seed.ClearField(field.name)
    text = f"Recall server get milvus fail. ({seed})"
    return RecallResponse(error=RecallResponse.Error(code=FAILED, text=text), degraded=[TWO_TOWER])
