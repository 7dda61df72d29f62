"""What `as` promises: the whole chain."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import grpc.aio

from recmesh.cli.verify.faults import Violation
from recmesh.cli.verify.model import (
    Checks,
    require,
    require_equal,
    require_ok,
    require_once,
    require_scores,
    require_without,
)
from recmesh.cli.verify.session import Session
from recmesh.client import AS, CM, InvalidRequest
from recmesh.contract import (
    BASKET,
    DEFAULT_RECOMMENDATIONS,
    LEGACY_NEW_USER_ID,
    MAX_CONDITIONS,
    MAX_CONTEXT,
    MAX_EXCLUDED,
    MAX_ID_BYTES,
    MAX_RECOMMENDATIONS,
    MAX_REQUEST_BYTES,
    NO_USER_IDS,
    RELATED,
    REPEAT,
    TRENDING,
)
from recmesh.pb.as_pb2 import ASRequest, ASResponse
from recmesh.pb.cm_pb2 import CMRequest
from recmesh.pb.filter_pb2 import Condition, Filter
from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.pb.user_info_pb2 import History, UserInfo
from recmesh.timeouts import in_time

CHECKS = Checks("as")
_FEW = 5
_MAX_EXPLAINED = 20
_PROFILE = UserInfo(
    user_id=LEGACY_NEW_USER_ID, age="5.0", sex="1.0", city_level="3.0", province="11.0", city="120.0", country="741.0"
)


def _ids(answer: ASResponse) -> list[str]:
    return [item.sku_id for item in answer.item_infos]


def _require_list(answer: ASResponse) -> None:
    """What holds for all lists: nothing is missing, each item is there once, and its score is a number."""
    require_ok(answer)
    require_equal("degraded", [*answer.degraded], [])
    require(bool(answer.release), "release is empty")
    require_once(_ids(answer))
    if not any(reason.rules for reason in answer.reasons):  # rules move items, which keep their scores
        require_scores([item.rank_score for item in answer.item_infos])


async def _full(session: Session, request: ASRequest) -> ASResponse:
    """An answer with as many items as were asked for, or all that there are. Rules may have moved them."""
    explained = ASRequest()
    explained.CopyFrom(request)
    explained.explain = True
    answer = await session.call(AS, explained)
    _require_list(answer)
    wanted = request.size or DEFAULT_RECOMMENDATIONS
    if len(answer.item_infos) != wanted:
        explained.size = MAX_RECOMMENDATIONS
        there_are = len((await session.call(AS, explained)).item_infos)
        require_equal("number of items", len(answer.item_infos), min(wanted, there_are))
    require(bool(answer.item_infos), "the list is empty")
    return answer


@CHECKS.add(f"known users: {DEFAULT_RECOMMENDATIONS} items, each once, best first")
async def _known_users(session: Session) -> None:
    for user_id in session.users:
        answer = await _full(session, ASRequest(user_id=user_id))
        require(not answer.unknown_user, f"user {user_id} is unknown: name users of your data set with --user ID")


@CHECKS.add("the fields of the items are those of cm")
async def _fields(session: Session) -> None:
    answer = await _full(session, ASRequest(user_id=session.users[0], size=_FEW))
    stored = await session.need(CM, CMRequest(item_ids=_ids(answer)))
    for item in answer.item_infos:
        item.rank_score = 0
    require_equal("item_infos", [*map(_plain, answer.item_infos)], [*map(_plain, stored.item_infos)])


def _plain(item: ItemInfo) -> dict[str, object]:
    return {field.name: dict(value) if field.name == "attributes" else value for field, value in item.ListFields()}


@CHECKS.add('a new user by profile, as "" or "-1": a full list, the same for both')
async def _new_user(session: Session) -> None:
    lists = []
    for user_id in NO_USER_IDS:
        answer = await _full(session, ASRequest(user_id=user_id, user_info=_PROFILE))
        require(not answer.unknown_user, "unknown_user is set")
        lists.append(_ids(answer))
    require_equal('the list for "-1"', lists[1], lists[0])


@CHECKS.add("an unknown id, with and without a profile: a full list and unknown_user")
async def _unknown_user(session: Session) -> None:
    for profile in (None, _PROFILE):
        answer = await _full(session, ASRequest(user_id=session.unknown_id, user_info=profile))
        require(answer.unknown_user, "unknown_user is not set")


@CHECKS.add("nobody at all: a full list")
async def _nobody(session: Session) -> None:
    await _full(session, ASRequest())


@CHECKS.add("a guest with a history: a full list")
async def _guest(session: Session) -> None:
    history = History(sku_ids=(await session.sku_ids())[:2])
    await _full(session, ASRequest(history=history))


@CHECKS.add(f"size 1, 7 and {MAX_RECOMMENDATIONS}: as many items")
async def _sizes(session: Session) -> None:
    for size in (1, 7, MAX_RECOMMENDATIONS):
        await _full(session, ASRequest(user_id=session.users[0], size=size))


CHECKS.refuses(
    f"size {MAX_RECOMMENDATIONS + 1}", AS, lambda: ASRequest(size=MAX_RECOMMENDATIONS + 1), MAX_RECOMMENDATIONS
)
CHECKS.refuses(
    f"an id of {MAX_ID_BYTES + 1} bytes", AS, lambda: ASRequest(user_id="x" * (MAX_ID_BYTES + 1)), MAX_ID_BYTES
)
CHECKS.refuses(
    "a request of more than 1 MiB", AS, lambda: ASRequest(user_id="x" * MAX_REQUEST_BYTES), MAX_REQUEST_BYTES
)


@CHECKS.add("exclude_ids: others instead of these")
async def _exclude(session: Session) -> None:
    excluded = _ids(await _full(session, ASRequest(size=_FEW)))
    rest = await _full(session, ASRequest(size=_FEW, exclude_ids=excluded))
    require_without(_ids(rest), excluded)


CHECKS.refuses(
    f"{MAX_EXCLUDED + 1:,} exclude_ids", AS, lambda: ASRequest(exclude_ids=["x"] * (MAX_EXCLUDED + 1)), MAX_EXCLUDED
)


@CHECKS.add("new_only: nothing of the history")
async def _new_only(session: Session) -> None:
    history = (await session.user()).history
    answer = await _full(session, ASRequest(user_id=session.users[0], new_only=True))
    require_without(_ids(answer), [*history.sku_ids, *history.older_sku_ids])


@CHECKS.add("pages: no item twice, in one order")
async def _pages(session: Session) -> None:
    pages: list[str] = []
    request = ASRequest(user_info=_PROFILE, paged=True, size=_FEW)  # Nobody acts under this profile meanwhile.
    for _ in range(3):
        answer = await session.call(AS, request)
        require_ok(answer)
        require_equal("degraded", [*answer.degraded], [])
        pages += _ids(answer)
        if not answer.next_cursor:
            break
        require_equal("number of items", len(answer.item_infos), _FEW)
        request = ASRequest(cursor=answer.next_cursor, size=_FEW)
    require(bool(pages), "the first page is empty")
    require_once(pages)
    whole = await session.call(AS, ASRequest(user_info=_PROFILE, paged=True, size=len(pages)))
    require_equal("one page of the same length", _ids(whole), pages)


CHECKS.refuses("a damaged cursor", AS, lambda: ASRequest(cursor="no cursor"), "cursor")


@CHECKS.add("explain: channels for each item")
async def _explain(session: Session) -> None:
    answer = await session.call(AS, ASRequest(user_id=session.users[0], explain=True, size=_FEW))
    _require_list(answer)
    require_equal("the items of reasons", [reason.sku_id for reason in answer.reasons], _ids(answer))
    bare = [reason.sku_id for reason in answer.reasons if not reason.channels and not reason.rules]
    require(not bare, f"item {bare[:1]} has no channel")


@CHECKS.add("explain_missing: listed, excluded, unknown")
async def _explain_missing(session: Session) -> None:
    listed, excluded = _ids(await _full(session, ASRequest(size=2)))[:2]
    asked = [listed, excluded, session.unknown_id]
    answer = await session.call(AS, ASRequest(size=1, exclude_ids=[excluded], explain_missing=asked))
    require_ok(answer)
    require_equal("the items of missing", [item.sku_id for item in answer.missing], asked)
    require_equal("their reasons", [item.reason for item in answer.missing], ["listed", "excluded", "unknown"])


CHECKS.refuses(
    f"{_MAX_EXPLAINED + 1} items of explain_missing",
    AS,
    lambda: ASRequest(explain_missing=["x"] * (_MAX_EXPLAINED + 1)),
    _MAX_EXPLAINED,
)


@CHECKS.add("a filter: only items that meet it, and none that do not")
async def _filter(session: Session) -> None:
    wanted = [*await session.sku_ids()][:2]
    some = Filter(conditions=[Condition(field="sku_id", any_of=wanted)])
    require_equal("the items", {*_ids(await _full(session, ASRequest(filter=some)))}, {*wanted})
    others = Filter(conditions=[Condition(field="sku_id", none_of=wanted)])
    require_without(_ids(await _full(session, ASRequest(filter=others, size=_FEW))), wanted)


CHECKS.refuses(
    "a filter on an unknown field",
    AS,
    lambda: ASRequest(filter=Filter(conditions=[Condition(field="no such field", any_of=["x"])])),
    "no such field",
)
CHECKS.refuses(
    f"{MAX_CONDITIONS + 1} conditions",
    AS,
    lambda: ASRequest(filter=Filter(conditions=[Condition(field="sku_id", any_of=["x"])] * (MAX_CONDITIONS + 1))),
    MAX_CONDITIONS,
)


@CHECKS.add(f"the scenarios {RELATED} and {BASKET}: full lists without the context")
async def _context(session: Session) -> None:
    context = [*await session.sku_ids()][:2]
    for scenario in (RELATED, BASKET):
        with _where_served():
            answer = await _full(session, ASRequest(scenario=scenario, context_ids=context, size=_FEW))
            require_without(_ids(answer), context)


@CHECKS.add(f"the scenario {REPEAT}: only items of the history")
async def _repeat(session: Session) -> None:
    history = (await session.user()).history
    with _where_served():
        answer = await session.call(AS, ASRequest(scenario=REPEAT, user_id=session.users[0], explain=True))
        _require_list(answer)
        others = {*_ids(answer)} - {*history.sku_ids, *history.older_sku_ids}
        require(not others, f"item {sorted(others)[:1]} is not in the history")


@contextmanager
def _where_served() -> Iterator[None]:
    """A release may have no lists for a scenario. The refusal has to say so."""
    try:
        yield
    except InvalidRequest as error:
        require(": release " in str(error), str(error))


@CHECKS.add(f"the scenario {TRENDING}: a full list")
async def _trending(session: Session) -> None:
    await _full(session, ASRequest(scenario=TRENDING, size=_FEW))


CHECKS.refuses("an unknown scenario", AS, lambda: ASRequest(scenario="no such scenario"), "scenario")
CHECKS.refuses(f"{RELATED} without context_ids", AS, lambda: ASRequest(scenario=RELATED), "context_ids")
CHECKS.refuses(
    f"{MAX_CONTEXT + 1} context_ids",
    AS,
    lambda: ASRequest(scenario=RELATED, context_ids=["x"] * (MAX_CONTEXT + 1)),
    MAX_CONTEXT,
)


@CHECKS.add("a request without a deadline, as legacy clients send it")
async def _no_deadline(session: Session) -> None:
    request = ASRequest(user_id=session.users[0], size=_FEW)
    try:
        answer = await in_time(session.timeout, session.call_without_deadline(AS, request))
    except asyncio.TimeoutError:
        raise Violation(f"no answer within {session.timeout:g} s") from None
    except grpc.aio.AioRpcError as error:
        raise Violation(f"{error.code().name}: {error.details()}") from None
    require_ok(answer)
