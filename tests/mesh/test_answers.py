"""What the chain answers, whichever way the services run."""

import asyncio
import math

import grpc
import numpy as np
import pytest
from pymilvus import MilvusClient

from recmesh.pb.as_pb2 import ASRequest, ASResponse
from recmesh.pb.as_pb2_grpc import ASServiceStub
from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.pb.rank_pb2 import RankRequest, RankResponse
from recmesh.pb.rank_pb2_grpc import RankServiceStub
from recmesh.pb.recall_pb2 import RecallRequest, RecallResponse
from recmesh.pb.recall_pb2_grpc import RecallServiceStub
from recmesh.pb.um_pb2 import UserModelRequest
from recmesh.pb.um_pb2_grpc import UMServiceStub
from recmesh.pb.user_info_pb2 import UserInfo
from recmesh.stores.milvus_writer import MilvusWriter
from recmesh.stores.redis import ITEM, RedisWriter
from tests.mesh.conftest import Ask, ask_as, ids
from tests.processes import Service
from tests.servers import wait_until
from tests.shop import ITEMS, Shop

YOUNG = UserInfo(age="1.0", sex="0.0", city_level="1.0", province="3.0", city="30.0", country="180.0")
OLD = UserInfo(age="6.0", sex="1.0", city_level="6.0", province="29.0", city="293.0", country="1760.0")


def requests(shop: Shop) -> list[ASRequest]:
    """Of 200 users: known ones, new ones by profile, and both with wishes."""
    known = [ASRequest(user_id=user_id) for user_id in shop.user_ids[:140]]
    wishes = [ASRequest(user_id=user_id, new_only=True, size=20) for user_id in shop.user_ids[140:170]]
    profiles = [{"age": f"{n % 6 + 1}.0", "sex": f"{n % 2}.0", "city_level": f"{n % 5}.0"} for n in range(30)]
    return [*known, *wishes, *(ASRequest(user_id="-1", user_info=UserInfo(**profile)) for profile in profiles)]


async def answers(target: str, wanted: list[ASRequest], concurrency: int) -> list[ASResponse]:
    limit = asyncio.Semaphore(concurrency)
    async with grpc.aio.insecure_channel(target) as channel:
        stub = ASServiceStub(channel)

        async def one(request: ASRequest) -> ASResponse:
            async with limit:
                return await stub.as_call(request, timeout=30)

        return await asyncio.gather(*map(one, wanted))


def test_concurrent_answers_equal_the_serial_ones(chain: str, trained_shop: Shop) -> None:
    """64 at once, of 200 users; company must not change an answer."""
    wanted = requests(trained_shop)
    serial = asyncio.run(answers(chain, wanted, 1))
    at_once = asyncio.run(answers(chain, wanted, 64))

    assert all(answer.error.code == 200 and answer.item_infos and not answer.degraded for answer in serial)
    assert at_once == serial


def test_one_process_answers_as_five_do(compact: Service, apart: dict[str, Service], trained_shop: Shop) -> None:
    wanted = requests(trained_shop)[::5]
    one = asyncio.run(answers(compact.target("as"), wanted, 4))
    five = asyncio.run(answers(apart["as"].target("as"), wanted, 4))

    assert one == five


@pytest.mark.parametrize("user_id", ["", "-1"])
def test_new_users_get_full_lists_that_differ_by_profile(ask: Ask, user_id: str) -> None:
    """C20"""
    young, old = (ask(user_id=user_id, user_info=profile) for profile in (YOUNG, OLD))

    for answer in (young, old):
        assert (answer.error.code, len(answer.item_infos), list(answer.degraded)) == (200, 50, [])
    assert ids(young) != ids(old)


def test_a_half_blank_profile_is_enough(ask: Ask) -> None:
    """C20"""
    answer = ask(user_info=UserInfo(user_id="0", age="3.0", city=""))

    assert (answer.error.code, len(answer.item_infos), list(answer.degraded)) == (200, 50, [])


def test_an_unknown_id_without_profile_gets_what_is_popular(ask: Ask) -> None:
    answer = ask(user_id="nobody has this id")

    assert (answer.error.code, len(answer.item_infos), list(answer.degraded)) == (200, 50, ["um"])


def test_pages_by_exclusion_never_overlap_nor_repeat_what_is_known(ask: Ask, chain: str, trained_shop: Shop) -> None:
    """C23"""
    user_id = trained_shop.user_ids[1]
    pages: list[str] = []
    for _ in range(3):
        page = ids(ask(user_id=user_id, new_only=True, size=40, exclude_ids=pages))
        assert len(page) == 40
        pages += page
    rest = ask(user_id=user_id, new_only=True, size=200, exclude_ids=pages)
    pages += ids(rest)

    assert rest.error.code == 200
    assert len(set(pages)) == len(pages) < ITEMS
    assert not set(pages) & history_of(trained_shop, user_id)
    assert set(pages) | history_of(trained_shop, user_id) == set(trained_shop.sku_ids)


def history_of(shop: Shop, user_id: str) -> set[str]:
    lines = (shop.folder / "data" / "actions.csv").read_text().splitlines()[1:]
    return {line.split(",")[1] for line in lines if line.split(",")[0] == user_id}


def test_reasons_name_the_channels(ask: Ask, trained_shop: Shop) -> None:
    answer = ask(user_id=trained_shop.user_ids[2], explain=True)

    assert [reason.sku_id for reason in answer.reasons] == ids(answer)
    named = {part.channel for reason in answer.reasons for part in reason.channels}
    assert named <= {"two_tower", "neighbours", "popular", "bought_before"}
    assert all(reason.channels for reason in answer.reasons)
    assert answer.release == trained_shop.store.active()


def test_limits_are_refused_with_the_limit(ask: Ask, compact: Service) -> None:
    with (
        grpc.insecure_channel(compact.target("recall")) as recall,
        grpc.insecure_channel(compact.target("rank")) as rank,
    ):
        for limit, call in (
            ("200", lambda: ask(size=201)),
            ("1000", lambda: RecallServiceStub(recall).recall(RecallRequest(request_num=1001), timeout=10)),
            ("two_tower", lambda: RecallServiceStub(recall).recall(RecallRequest(recall_type="typo"), timeout=10)),
            ("2000", lambda: RankServiceStub(rank).rank_predict(RankRequest(item_ids=["1"] * 2001), timeout=10)),
        ):
            with pytest.raises(grpc.RpcError) as refused:
                call()
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert limit in refused.value.details()


@pytest.mark.parametrize("channel", ["two_tower", "neighbours", "popular", "bought_before"])
def test_one_channel_can_be_asked_alone(compact: Service, trained_shop: Shop, channel: str) -> None:
    answer = recall(compact, trained_shop, recall_type=channel, request_num=10)

    assert answer.error.code == 200
    assert 0 < len(answer.score_pairs) <= 10
    assert [part.name for part in answer.channels] == [channel]
    scores = [pair.score for pair in answer.score_pairs]
    assert scores == sorted(scores, reverse=True)


def test_recall_gives_as_many_as_are_asked_for(compact: Service, trained_shop: Shop) -> None:
    assert len(recall(compact, trained_shop).score_pairs) == 100
    assert len(recall(compact, trained_shop, request_num=7).score_pairs) == 7
    everything = recall(compact, trained_shop, request_num=1000)
    assert {pair.nid for pair in everything.score_pairs} == set(trained_shop.sku_ids)


def test_the_columnar_form_says_the_same(compact: Service, trained_shop: Shop) -> None:
    plain = recall(compact, trained_shop)
    columnar = recall(compact, trained_shop, columnar=True, explain=True)
    brief = recall(compact, trained_shop, columnar=True)

    assert [pair.nid for pair in plain.score_pairs] == list(columnar.candidates.ids)
    assert [pair.score for pair in plain.score_pairs] == list(columnar.candidates.scores)
    assert plain.channels
    assert plain.channels == columnar.channels
    assert brief.candidates == columnar.candidates
    assert not brief.channels


def recall(compact: Service, shop: Shop, **request: object) -> RecallResponse:
    with grpc.insecure_channel(compact.target("um")) as um, grpc.insecure_channel(compact.target("recall")) as channel:
        user = UMServiceStub(um).um_call(UserModelRequest(user_id=shop.user_ids[3]), timeout=10)
        wanted = RecallRequest(user_info=user.user_info, history=user.history, **request)
        return RecallServiceStub(channel).recall(wanted, timeout=10)


def test_values_that_were_never_seen_are_scored(compact: Service, chain: str, trained_shop: Shop) -> None:
    """C14, on the wire of rank and of the chain."""
    strange = UserInfo(age="ninety", sex="?", city="atlantis", country="\u2603")
    items = [ItemInfo(sku_id="new", brand="never", shopid="seen", cate="999999"), ItemInfo(sku_id="bare")]
    before = unknown_values(compact)
    answer = rank(compact, user_info=strange, item_infos=items)

    assert [pair.nid for pair in answer.score_pairs] == ["new", "bare"]
    assert all(math.isfinite(pair.score) for pair in answer.score_pairs)
    assert unknown_values(compact) > before
    chained = ask_as(chain, user_info=strange)
    assert (len(chained.item_infos), list(chained.degraded)) == (50, [])
    assert all(math.isfinite(item.rank_score) for item in chained.item_infos)


def test_an_item_younger_than_the_release_is_found_and_ranked(compact: Service, chain: str, trained_shop: Shop) -> None:
    """C14: upserted after training, with values that training never saw."""
    collection = trained_shop.store.manifest(str(trained_shop.store.active())).collection
    writer, redis = MilvusWriter(trained_shop.milvus.uri), RedisWriter(trained_shop.redis.url)
    everywhere = np.zeros(33, np.float32)
    everywhere[-1] = 100  # The bias: the nearest item of everybody.
    info = ItemInfo(sku_id="fresh", brand="never seen", cate="999999")
    redis.write({ITEM + "fresh": info.SerializeToString()})
    writer.insert(collection, ["fresh"], everywhere[None], replace=True)

    def is_found() -> bool:
        return "fresh" in recall(compact, trained_shop, recall_type="two_tower").unlisted_ids

    try:
        wait_until(is_found, compact, "Milvus")
        before = unknown_values(compact)
        for user_id in trained_shop.user_ids[:10]:
            answer = ask_as(chain, user_id=user_id, size=200)
            assert (len(answer.item_infos), list(answer.degraded)) == (200, [])
            assert all(math.isfinite(item.rank_score) for item in answer.item_infos)
        ranked = rank(compact, user_info=YOUNG, item_ids=trained_shop.sku_ids, item_infos=[info])
        assert "fresh" in {pair.nid for pair in ranked.score_pairs}
        assert unknown_values(compact) > before
    finally:
        redis.delete([ITEM + "fresh"])
        MilvusClient(trained_shop.milvus.uri).delete(collection, ids=["fresh"], timeout=10)
        wait_until(lambda: not is_found(), compact, "Milvus")


def test_rank_answers_the_best_of_ids_and_fields(compact: Service, trained_shop: Shop) -> None:
    ids_ = trained_shop.sku_ids[:50]
    items = [ItemInfo(sku_id="new", brand="2", shopid="32", cate="0")]
    everything = rank(compact, user_info=OLD, item_ids=ids_, item_infos=items)
    best = rank(compact, user_info=OLD, item_ids=ids_, item_infos=items, size=5)

    assert len(everything.score_pairs) == 51
    assert list(best.score_pairs) == list(everything.score_pairs[:5])
    scores = [pair.score for pair in everything.score_pairs]
    assert scores == sorted(scores, reverse=True)


def test_rank_judges_pairs_by_affinity(compact: Service, trained_shop: Shop) -> None:
    ids_ = trained_shop.sku_ids[:200]
    listed, judged = (rank(compact, user_info=OLD, item_ids=ids_, affinity=affinity) for affinity in (False, True))
    assert [pair.nid for pair in judged.score_pairs] != [pair.nid for pair in listed.score_pairs]
    scores = [pair.score for pair in judged.score_pairs]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) > 100


def test_rank_keeps_an_order_only_where_it_is_told_that_it_has_one(compact: Service, trained_shop: Shop) -> None:
    """Without `ordered` the scores do not depend on the order of the request, whatever the release says."""
    ids_ = list(trained_shop.sku_ids[:60])
    one, other = (rank(compact, user_info=OLD, item_ids=order) for order in (ids_, ids_[::-1]))
    wanted = {pair.nid: pair.score for pair in other.score_pairs}
    assert {pair.nid: pair.score for pair in one.score_pairs} == pytest.approx(wanted, abs=1e-5)


def rank(compact: Service, **request: object) -> RankResponse:
    with grpc.insecure_channel(compact.target("rank")) as channel:
        return RankServiceStub(channel).rank_predict(RankRequest(**request), timeout=10)


def unknown_values(service: Service) -> float:
    return service.metric("recmesh_unknown_values_total")
