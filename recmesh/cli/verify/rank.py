"""What rank promises."""

from recmesh.cli.legacy import LEGACY_RANK
from recmesh.cli.verify.model import Checks, require, require_equal, require_ok, require_scores
from recmesh.cli.verify.session import Session
from recmesh.client import RANK
from recmesh.contract import MAX_RANKED_ITEMS, RELEASE
from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.pb.rank_pb2 import RankRequest, RankResponse

CHECKS = Checks("rank")
_FEW = 5
_ROUNDING = 1e-4


async def _scored(session: Session, request: RankRequest) -> list[str]:
    """The ids of the answer, after everything that holds for all answers: a finite score for each item, best first."""
    answer = await session.call(RANK, request)
    require_ok(answer)
    require_equal("degraded", [*answer.degraded], [])
    require(bool(answer.release), "release is empty")
    require_scores([pair.score for pair in answer.score_pairs])
    ids = [pair.nid for pair in answer.score_pairs]
    wanted = [*request.item_ids, *(item.sku_id for item in request.item_infos)]
    require_equal("number of pairs", len(ids), min(request.size or len(wanted), len(wanted)))
    if not request.size:
        require_equal("the items", sorted(ids), sorted(wanted))
    return ids


@CHECKS.add("the request of the v0 client: one score")
async def _legacy(session: Session) -> None:
    await _scored(session, LEGACY_RANK)


@CHECKS.add("items by id for a known user: a finite score for each, best first")
async def _known_user(session: Session) -> None:
    user = await session.user()
    sku_ids = await session.sku_ids()
    await _scored(session, RankRequest(user_info=user.user_info, history=user.history, item_ids=sku_ids))


@CHECKS.add("the order of the request does not change the scores")
async def _order(session: Session) -> None:
    sku_ids = [*await session.sku_ids()]
    forward = _by_id(await session.call(RANK, RankRequest(item_ids=sku_ids)))
    backward = _by_id(await session.call(RANK, RankRequest(item_ids=sku_ids[::-1])))
    for found in (forward, backward):
        require_equal("the items", sorted(found), sorted(sku_ids))
    for sku_id, score in forward.items():
        near = abs(score - backward[sku_id]) <= _ROUNDING * max(1.0, abs(score))
        require(near, f"item {sku_id} has the score {score} in one order, and {backward[sku_id]} in the other")


def _by_id(answer: RankResponse) -> dict[str, float]:
    return {pair.nid: pair.score for pair in answer.score_pairs}


@CHECKS.add("items that the catalogue does not hold: a score for each, by its fields")
async def _by_fields(session: Session) -> None:
    items = [ItemInfo(sku_id=session.unknown_id, cate="no such category"), ItemInfo(sku_id="x", brand="no such brand")]
    await _scored(session, RankRequest(item_ids=[*await session.sku_ids()], item_infos=items))


@CHECKS.add(f"size {_FEW}: the best {_FEW}")
async def _best(session: Session) -> None:
    sku_ids = [*await session.sku_ids()]
    best = await _scored(session, RankRequest(item_ids=sku_ids, size=_FEW))
    require_equal("the items", best, (await _scored(session, RankRequest(item_ids=sku_ids)))[: len(best)])


@CHECKS.add("no items: no scores")
async def _no_items(session: Session) -> None:
    await _scored(session, RankRequest())


@CHECKS.add(f"{MAX_RANKED_ITEMS:,} items are not too many")
async def _most_items(session: Session) -> None:
    await _scored(session, RankRequest(item_ids=[f"{session.unknown_id}-{n}" for n in range(MAX_RANKED_ITEMS)]))


CHECKS.refuses(
    f"{MAX_RANKED_ITEMS + 1:,} items",
    RANK,
    lambda: RankRequest(item_ids=["x"], item_infos=[ItemInfo(sku_id="x")] * MAX_RANKED_ITEMS),
    MAX_RANKED_ITEMS,
)


@CHECKS.add("a release that is not held: the active one answers and says so")
async def _other_release(session: Session) -> None:
    request = RankRequest()
    request.CopyFrom(LEGACY_RANK)
    request.release = session.unknown_id
    answer = await session.call(RANK, request)
    require_ok(answer)
    require_equal("degraded", [*answer.degraded], [RELEASE])
