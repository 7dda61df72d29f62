"""as on the wire: serialized items are copied into the answer."""

from google.protobuf.message import Message

from recmesh.chain.answer_log import AnswerLog
from recmesh.chain.chain import Chain
from recmesh.chain.cursor import Cursor
from recmesh.chain.missing import MAX_EXPLAINED
from recmesh.chain.model import Answer, Request
from recmesh.contract import DEFAULT_RECOMMENDATIONS, MAX_RECOMMENDATIONS, OK
from recmesh.errors import InvalidRequest
from recmesh.pb import as_pb2
from recmesh.serving import Endpoint, deadline
from recmesh.serving.health import Check
from recmesh.serving.limits import (
    check_count,
    check_excluded,
    check_history,
    check_ids,
    checked_filter,
    checked_scenario,
)
from recmesh.serving.rpc import Context, with_raw_fields

_BESIDE_CURSOR = {"cursor", "size", "log_id", "paged"}
_Response = with_raw_fields(as_pb2.ASResponse, "item_infos")


class AsServicer:
    """Implements as.ASService."""

    def __init__(self, chain: Chain, log: AnswerLog | None = None) -> None:
        """Answer from a chain. A sample of the answers goes to `log`."""
        self._chain = chain
        self._log = log

    async def as_call(self, request: as_pb2.ASRequest, context: Context) -> Message:
        """Recommendations, best first.

        Raises:
            InvalidRequest: The request asks for too many items, excludes too many, or has an id that is too long, a
                history that is too long or whose columns do not fit each other, a filter that is too long or wrong, a
                scenario that does not exist or does not fit its context, or a cursor that is damaged or comes with
                fields that describe another list.
        """
        if request.size > MAX_RECOMMENDATIONS:
            raise InvalidRequest(f"size is {request.size}: at most {MAX_RECOMMENDATIONS}")
        check_ids("user_id", [request.user_id])
        check_excluded(request.exclude_ids)
        check_history(request.history)
        check_count("explain_missing", len(request.explain_missing), MAX_EXPLAINED)
        check_ids("explain_missing", request.explain_missing)
        if request.cursor:
            return _response(await self._go_on(request))
        scenario = checked_scenario(request.scenario, request.context_ids, request.new_only)
        # The log evaluates what users do with lists that are made for them.
        log = self._log if not scenario else None
        log = log if log is not None and log.wants(context.invocation_metadata()) else None
        answer = await self._chain.answer(
            Request(
                user_id=request.user_id,
                profile=request.user_info,
                size=request.size or DEFAULT_RECOMMENDATIONS,
                exclude=request.exclude_ids,
                new_only=request.new_only,
                explain=request.explain,
                record=log is not None,
                history=request.history,
                paged=request.paged,
                explain_missing=tuple(request.explain_missing),
                conditions=checked_filter(request.filter),
                scenario=scenario,
                context=tuple(request.context_ids),
            ),
            deadline.remaining(),
        )
        if log is not None:
            log.add(request, answer)
        return _response(answer)

    async def _go_on(self, request: as_pb2.ASRequest) -> Answer:
        """The next page of a list."""
        given = {descriptor.name for descriptor, _ in request.ListFields()} - _BESIDE_CURSOR
        if given:
            raise InvalidRequest(f"cursor continues a list that is made already: send it without {min(given)}")
        size = request.size or DEFAULT_RECOMMENDATIONS
        return await self._chain.go_on(Cursor.decode(request.cursor), size, deadline.remaining())


def endpoint(port: int, chain: Chain, check: Check, log: AnswerLog | None = None, http_port: int = 0) -> Endpoint:
    """as.ASService on a port, and over HTTP on `http_port` unless that is 0; see `AsServicer`."""
    descriptor = as_pb2.DESCRIPTOR.services_by_name["ASService"]
    return Endpoint("as", port, descriptor, {"as_call": AsServicer(chain, log).as_call}, check, http_port=http_port)


def _response(answer: Answer) -> Message:
    return _Response(
        error={"code": OK},
        item_infos=[item.info for item in answer.items],
        release=answer.release,
        degraded=answer.degraded,
        unknown_user=answer.unknown_user,
        next_cursor=answer.rest.encode() if answer.rest else "",
        missing=[{"sku_id": item.sku_id, "reason": item.reason, "text": item.text} for item in answer.missing],
        reasons=[
            {
                "sku_id": reason.sku_id,
                "channels": [{"channel": channel, "score": score} for channel, score in reason.channels],
                "features": [{"group": group, "effect": effect} for group, effect in reason.effects],
                "rules": reason.rules,
            }
            for reason in answer.reasons
        ],
    )
