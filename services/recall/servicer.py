"""recall on the wire."""

from collections.abc import Iterable
from typing import TypeVar

import numpy as np

from recmesh.contract import DEFAULT_CANDIDATES, FAILED, FIRST_ADDED_FIELD, MAX_CANDIDATES, OK, RELEASE, TWO_TOWER
from recmesh.errors import InvalidRequest
from recmesh.pb.recall_pb2 import RecallRequest, RecallResponse
from recmesh.serving import deadline
from recmesh.serving.limits import check_excluded, checked_filter, checked_scenario
from recmesh.serving.logs import shortened
from recmesh.serving.stages import CandidateList, CandidateQuery, RequestUser
from services.recall.core import NoChannelAnswered, RecallCore

T = TypeVar("T", int, float)


class RecallServicer:
    """Implements recall.RecallService."""

    def __init__(self, core: RecallCore) -> None:
        """Answer from a core."""
        self._core = core

    async def recall(self, request: RecallRequest, _context: object) -> RecallResponse:
        """Candidates, best first; `error.code` 500 if no channel that was asked could answer.

        Raises:
            InvalidRequest: The request asks for too many candidates, excludes too many items, has a filter that is too
                long or wrong, or a scenario that does not exist or does not fit its context.
        """
        if request.request_num > MAX_CANDIDATES:
            raise InvalidRequest(f"request_num is {request.request_num}: at most {MAX_CANDIDATES}")
        check_excluded(request.exclude_ids)
        query = CandidateQuery(
            user=RequestUser(request.user_info, request.history),
            size=request.request_num or DEFAULT_CANDIDATES,
            channel=request.recall_type,
            exclude=request.exclude_ids,
            new_only=request.new_only,
            release=request.release,
            explain=request.explain or not request.columnar,
            conditions=checked_filter(request.filter),
            scenario=checked_scenario(request.scenario, request.context_ids, request.new_only),
            context=tuple(request.context_ids),
        )
        try:
            found = await self._core.recall(query, deadline.remaining())
        except NoChannelAnswered:
            return _failed(request)
        response = _response(found, request.columnar, query.explain)
        if request.release not in ("", found.release):
            response.degraded.append(RELEASE)
        return response


def _response(found: CandidateList, columnar: bool, explain: bool) -> RecallResponse:
    response = RecallResponse(
        error=RecallResponse.Error(code=OK),
        release=found.release,
        degraded=found.degraded,
        unlisted_ids=found.unlisted,
        new_only=found.new_only,
        missing=found.missing,
        now=found.now,
        separators=found.separators,
    )
    if explain:
        for name, part in found.channels.items():
            response.channels.add(name=name, positions=_list(part.positions), scores=_list(part.scores))
    if columnar:
        response.candidates.ids.extend(found.ids)
        response.candidates.scores.extend(found.scores)
    else:
        for sku_id, score in zip(found.ids, found.scores, strict=True):
            response.score_pairs.add(nid=sku_id, score=score)
    return response


def _list(values: Iterable[T]) -> list[T]:
    """Values as a list: protobuf copies lists several times faster than arrays."""
    converted: list[T] = np.asarray(values).tolist()
    return converted


def _failed(request: RecallRequest) -> RecallResponse:
    """The error of the v0 contract, whose text prints the request: here without the fields that were added to it."""
    printed = RecallRequest()
    printed.CopyFrom(request)
    for field in RecallRequest.DESCRIPTOR.fields:
        if field.number >= FIRST_ADDED_FIELD:
            printed.ClearField(field.name)
    text = f"Recall server get milvus fail. ({shortened(str(printed))})"
    return RecallResponse(error=RecallResponse.Error(code=FAILED, text=text), degraded=[TWO_TOWER])
