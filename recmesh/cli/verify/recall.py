"""What recall promises."""

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
from recmesh.client import RECALL
from recmesh.contract import DEFAULT_CANDIDATES, MAX_CANDIDATES, MAX_EXCLUDED, POPULAR, RELATED, RELEASE, TWO_TOWER
from recmesh.pb.filter_pb2 import Condition, Filter
from recmesh.pb.recall_pb2 import RecallRequest, RecallResponse

CHECKS = Checks("recall")
_FEW = 5


def _ids(answer: RecallResponse) -> list[str]:
    return [pair.nid for pair in answer.score_pairs]


async def _candidates(session: Session, request: RecallRequest) -> list[str]:
    """Candidates, after everything that holds for all lists: as many as were asked for, each once, best first."""
    answer = await session.call(RECALL, request)
    require_ok(answer)
    require_equal("degraded", [*answer.degraded], [])
    require(bool(answer.release), "release is empty")
    ids = _ids(answer)
    require_once(ids)
    require_scores([pair.score for pair in answer.score_pairs])
    wanted = request.request_num or DEFAULT_CANDIDATES
    if len(ids) != wanted:
        longest = RecallRequest()
        longest.CopyFrom(request)
        longest.request_num = MAX_CANDIDATES
        require_equal("number of candidates", len(ids), min(wanted, len(_ids(await session.call(RECALL, longest)))))
    return ids


@CHECKS.add(f"a known user: {DEFAULT_CANDIDATES} candidates, each once, best first")
async def _known_user(session: Session) -> None:
    user = await session.user()
    ids = await _candidates(session, RecallRequest(user_info=user.user_info, history=user.history))
    require(bool(ids), "there are no candidates")


@CHECKS.add("somebody without profile and history: the same")
async def _visitor(session: Session) -> None:
    require(bool(await _candidates(session, RecallRequest())), "there are no candidates")


@CHECKS.add(f"request_num 1, 7 and {MAX_CANDIDATES:,}: as many candidates")
async def _sizes(session: Session) -> None:
    for number in (1, 7, MAX_CANDIDATES):
        await _candidates(session, RecallRequest(request_num=number))


CHECKS.refuses(
    f"request_num {MAX_CANDIDATES + 1:,}",
    RECALL,
    lambda: RecallRequest(request_num=MAX_CANDIDATES + 1),
    MAX_CANDIDATES,
)


@CHECKS.add("exclude_ids: others instead of these")
async def _exclude(session: Session) -> None:
    excluded = await _candidates(session, RecallRequest(request_num=_FEW))
    rest = await _candidates(session, RecallRequest(request_num=_FEW, exclude_ids=excluded))
    require_without(rest, excluded)


CHECKS.refuses(
    f"{MAX_EXCLUDED + 1:,} exclude_ids",
    RECALL,
    lambda: RecallRequest(exclude_ids=["x"] * (MAX_EXCLUDED + 1)),
    MAX_EXCLUDED,
)


@CHECKS.add("new_only: nothing of the history")
async def _new_only(session: Session) -> None:
    user = await session.user()
    request = RecallRequest(user_info=user.user_info, history=user.history, new_only=True)
    ids = await _candidates(session, request)
    require_without(ids, [*user.history.sku_ids, *user.history.older_sku_ids])


@CHECKS.add(f"the channels {TWO_TOWER} (a search in Milvus) and {POPULAR}")
async def _channels(session: Session) -> None:
    user = await session.user()
    for channel in (TWO_TOWER, POPULAR):
        request = RecallRequest(user_info=user.user_info, history=user.history, recall_type=channel, request_num=_FEW)
        answer = await session.call(RECALL, request)
        require_ok(answer)
        require_equal(f"degraded of {channel}", [*answer.degraded], [])
        require(bool(answer.score_pairs), f"{channel} has no candidates")
        require_equal("channels", [part.name for part in answer.channels], [channel])


CHECKS.refuses(
    "an unknown channel", RECALL, lambda: RecallRequest(recall_type="no such channel"), "recall_type 'no such channel'"
)


@CHECKS.add("columnar: the same candidates as columns")
async def _columnar(session: Session) -> None:
    ids = await _candidates(session, RecallRequest(request_num=_FEW))
    answer = await session.call(RECALL, RecallRequest(request_num=_FEW, columnar=True))
    require_ok(answer)
    require_equal("candidates.ids", [*answer.candidates.ids], ids)
    require_equal("number of candidates.scores", len(answer.candidates.scores), len(ids))


@CHECKS.add("a filter: only items that meet it")
async def _filter(session: Session) -> None:
    wanted = await _candidates(session, RecallRequest(request_num=2))
    conditions = Filter(conditions=[Condition(field="sku_id", any_of=wanted)])
    require_equal("the items", {*await _candidates(session, RecallRequest(filter=conditions))}, {*wanted})


CHECKS.refuses(
    "a filter on an unknown field",
    RECALL,
    lambda: RecallRequest(filter=Filter(conditions=[Condition(field="no such field", any_of=["x"])])),
    "no such field",
)
CHECKS.refuses("an unknown scenario", RECALL, lambda: RecallRequest(scenario="no such scenario"), "scenario")
CHECKS.refuses("related without context_ids", RECALL, lambda: RecallRequest(scenario=RELATED), "context_ids")


@CHECKS.add("a release that is not held: the active one answers and says so")
async def _other_release(session: Session) -> None:
    answer = await session.call(RECALL, RecallRequest(request_num=1, release=session.unknown_id))
    require_ok(answer)
    require_equal("degraded", [*answer.degraded], [RELEASE])
