"""Answers of the chain, in both ways to run the services."""

import asyncio
import math
from pathlib import Path

import grpc
import numpy as np
import pytest
from onnxruntime import InferenceSession
from pymilvus import MilvusClient

from recmesh.contract import (
    DEFAULT_CANDIDATES,
    DEFAULT_RECOMMENDATIONS,
    MAX_CANDIDATES,
    MAX_RANKED_ITEMS,
    MAX_RECOMMENDATIONS,
    OK,
)
from recmesh.features import Encoder
from recmesh.pb.as_pb2 import ASRequest, ASResponse
from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.pb.rank_pb2 import RankRequest, RankResponse
from recmesh.pb.recall_pb2 import RecallRequest, RecallResponse
from recmesh.pb.um_pb2 import UserModelRequest
from recmesh.pb.user_info_pb2 import UserInfo
from recmesh.serving.models import encode_user
from recmesh.serving.stages import RequestUser
from recmesh.stores.milvus_writer import MilvusWriter
from recmesh.stores.redis import RedisWriter
from tests.calls import AS, RANK, RECALL, UM
from tests.mesh.conftest import Ask, ids
from tests.processes import Service
from tests.servers import wait_until
from tests.shop import ITEMS, Shop

VECTOR_DIM = 33
"""Dimension of the shop's item vectors; the last one holds the bias."""

YOUNG = UserInfo(age="1.0", sex="0.0", city_level="1.0", province="3.0", city="30.0", country="180.0")
OLD = UserInfo(age="6.0", sex="1.0", city_level="6.0", province="29.0", city="293.0", country="1760.0")


def requests(shop: Shop) -> list[ASRequest]:
    """Requests of 200 users: known users, known users who want new items only, and new users with a profile."""
    known = [ASRequest(user_id=user_id) for user_id in shop.user_ids[:140]]
    new_items = [ASRequest(user_id=user_id, new_only=True, size=20) for user_id in shop.user_ids[140:170]]
    profiles = [UserInfo(age=f"{n % 6 + 1}.0", sex=f"{n % 2}.0", city_level=f"{n % 5}.0") for n in range(30)]
    return [*known, *new_items, *(ASRequest(user_id="-1", user_info=profile) for profile in profiles)]


async def answers(target: str, requests: list[ASRequest], concurrency: int) -> list[ASResponse]:
    limit = asyncio.Semaphore(concurrency)
    async with grpc.aio.insecure_channel(target) as channel:
        method = AS.on_aio(channel)

        async def call(request: ASRequest) -> ASResponse:
            async with limit:
                return await method(request, timeout=30)

        return await asyncio.gather(*map(call, requests))


def test_concurrent_answers_equal_the_serial_ones(chain: str, trained_shop: Shop) -> None:
    """64 concurrent requests of 200 users: an answer does not depend on the other requests."""
    serial = asyncio.run(answers(chain, requests(trained_shop), 1))
    concurrent = asyncio.run(answers(chain, requests(trained_shop), 64))

    assert all(answer.error.code == OK and answer.item_infos and not answer.degraded for answer in serial)
    assert concurrent == serial


def test_one_process_gives_the_answers_of_five(compact: Service, apart: dict[str, Service], trained_shop: Shop) -> None:
    sample = requests(trained_shop)[::5]
    one_process = asyncio.run(answers(compact.target("as"), sample, 4))
    five_processes = asyncio.run(answers(apart["as"].target("as"), sample, 4))

    assert one_process == five_processes


@pytest.mark.parametrize("user_id", ["", "-1"])
def test_new_users_get_full_lists_that_differ_by_profile(ask: Ask, user_id: str) -> None:
    young, old = (ask(ASRequest(user_id=user_id, user_info=profile)) for profile in (YOUNG, OLD))

    for answer in (young, old):
        check_full(answer)
    assert ids(young) != ids(old)


def check_full(answer: ASResponse, degraded: tuple[str, ...] = ()) -> None:
    """The answer has the default length, and only the given parts are missing."""
    assert answer.error.code == OK
    assert len(answer.item_infos) == DEFAULT_RECOMMENDATIONS
    assert tuple(answer.degraded) == degraded


def test_an_incomplete_profile_is_enough(ask: Ask) -> None:
    check_full(ask(ASRequest(user_info=UserInfo(user_id="0", age="3.0", city=""))))


def test_an_unknown_id_without_a_profile_gets_popular_items(ask: Ask) -> None:
    answer = ask(ASRequest(user_id="nobody has this id"))
    check_full(answer)
    assert answer.unknown_user


def test_pages_neither_overlap_nor_contain_items_of_the_history(ask: Ask, trained_shop: Shop) -> None:
    """Each page excludes the items of the pages before it; together they contain every other item."""
    user_id = trained_shop.user_ids[1]
    pages: list[str] = []
    for _ in range(3):
        page = ids(ask(ASRequest(user_id=user_id, new_only=True, size=40, exclude_ids=pages)))
        assert len(page) == 40
        pages += page
    rest = ask(ASRequest(user_id=user_id, new_only=True, size=MAX_RECOMMENDATIONS, exclude_ids=pages))
    pages += ids(rest)

    assert rest.error.code == OK
    assert len(set(pages)) == len(pages) < ITEMS
    assert not set(pages) & history_of(trained_shop, user_id)
    assert set(pages) | history_of(trained_shop, user_id) == set(trained_shop.sku_ids)


def history_of(shop: Shop, user_id: str) -> set[str]:
    lines = (shop.folder / "data" / "actions.csv").read_text().splitlines()[1:]
    return {line.split(",")[1] for line in lines if line.split(",")[0] == user_id}


def test_reasons_name_the_channels(ask: Ask, trained_shop: Shop) -> None:
    answer = ask(ASRequest(user_id=trained_shop.user_ids[2], explain=True))

    assert [reason.sku_id for reason in answer.reasons] == ids(answer)
    channels = {part.channel for reason in answer.reasons for part in reason.channels}
    assert channels <= {"two_tower", "neighbours", "popular", "bought_before", "new"}
    assert all(reason.channels for reason in answer.reasons)
    assert answer.release == trained_shop.store.active()


def test_reasons_name_the_features_that_moved_a_score_most(
    ask: Ask, compact: Service, trained_shop: Shop, tmp_path: Path
) -> None:
    """Worked out here with the models of the release, for all groups of features and all candidates."""
    user_id = trained_shop.user_ids[2]
    answer = ask(ASRequest(user_id=user_id, explain=True, size=10))
    release = trained_shop.store.active()
    assert release is not None
    folder = trained_shop.store.fetch(release, tmp_path)
    encoder, session = Encoder.load(folder), InferenceSession(folder / "ranker.onnx")
    tower = InferenceSession(folder / "user_tower.onnx")
    stored = UM.call(compact.target("um"), UserModelRequest(user_id=user_id))
    request = RecallRequest(user_info=stored.user_info, history=stored.history, request_num=400, columnar=True)
    candidates = list(RECALL.call(compact.target("recall"), request).candidates.ids)
    user = encode_user(encoder, RequestUser(stored.user_info, stored.history))
    vector = tower.run(None, encoder.tower_inputs(user))[0][0]
    inputs = encoder.ranker_inputs(user, encoder.catalogue.encode(candidates), False, (), vector)
    scores = session.run(["score"], inputs)[0]
    average = inputs["dense"].mean(0)
    effects = {
        group.name: scores - session.run(["score"], group.without(inputs, average))[0]
        for group in encoder.feature_groups
    }
    for reason in answer.reasons:
        row = candidates.index(reason.sku_id)
        moved = sorted(((name, of[row]) for name, of in effects.items()), key=lambda effect: -abs(effect[1]))[:5]
        assert [part.effect for part in reason.features] == pytest.approx([effect for _, effect in moved], abs=1e-5)
        named = {part.group: part.effect for part in reason.features}
        assert named == pytest.approx({name: effects[name][row] for name in named}, abs=1e-5)
    assert not ask(ASRequest(user_id=user_id, size=10)).reasons


def test_why_an_item_is_not_in_the_list(ask: Ask, trained_shop: Shop) -> None:
    user_id = trained_shop.user_ids[1]
    whole = ids(ask(ASRequest(user_id=user_id, new_only=True, size=MAX_RECOMMENDATIONS)))
    bought = min(history_of(trained_shop, user_id))
    asked = [whole[0], whole[3], whole[60], "no-such-item", bought]
    answer = ask(ASRequest(user_id=user_id, new_only=True, size=50, exclude_ids=whole[3:4], explain_missing=asked))
    assert [missing.sku_id for missing in answer.missing] == asked
    assert [missing.reason for missing in answer.missing] == ["listed", "excluded", "rank", "unknown", "history"]
    assert answer.missing[0].text == "at position 1"
    assert answer.missing[2].text.startswith("at place 60 of 250 candidates: its score is ")


def test_a_request_beyond_a_limit_is_refused_with_the_limit(ask: Ask, compact: Service) -> None:
    recall_target, rank_target = compact.target("recall"), compact.target("rank")
    too_many_ids = ["1"] * (MAX_RANKED_ITEMS + 1)
    for limit, call in (
        ("200", lambda: ask(ASRequest(size=MAX_RECOMMENDATIONS + 1))),
        ("1000", lambda: RECALL.call(recall_target, RecallRequest(request_num=MAX_CANDIDATES + 1))),
        ("two_tower", lambda: RECALL.call(recall_target, RecallRequest(recall_type="typo"))),
        ("2000", lambda: RANK.call(rank_target, RankRequest(item_ids=too_many_ids))),
    ):
        with pytest.raises(grpc.RpcError) as refused:
            call()
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert limit in (refused.value.details() or "")


@pytest.mark.parametrize("channel", ["two_tower", "neighbours", "popular", "bought_before"])
def test_recall_can_be_limited_to_one_channel(compact: Service, trained_shop: Shop, channel: str) -> None:
    answer = recall(compact, trained_shop, recall_type=channel, request_num=10)

    assert answer.error.code == OK
    assert 0 < len(answer.score_pairs) <= 10
    assert [part.name for part in answer.channels] == [channel]
    scores = [pair.score for pair in answer.score_pairs]
    assert scores == sorted(scores, reverse=True)


def test_recall_gives_the_requested_number_of_candidates(compact: Service, trained_shop: Shop) -> None:
    assert len(recall(compact, trained_shop).score_pairs) == DEFAULT_CANDIDATES
    assert len(recall(compact, trained_shop, request_num=7).score_pairs) == 7
    everything = recall(compact, trained_shop, request_num=MAX_CANDIDATES)
    assert {pair.nid for pair in everything.score_pairs} == set(trained_shop.sku_ids)


def test_the_columnar_form_has_the_same_content(compact: Service, trained_shop: Shop) -> None:
    plain = recall(compact, trained_shop)
    columnar = recall(compact, trained_shop, columnar=True, explain=True)
    unexplained = recall(compact, trained_shop, columnar=True)

    assert [pair.nid for pair in plain.score_pairs] == list(columnar.candidates.ids)
    assert [pair.score for pair in plain.score_pairs] == list(columnar.candidates.scores)
    assert plain.channels
    assert plain.channels == columnar.channels
    assert unexplained.candidates == columnar.candidates
    assert not unexplained.channels


def recall(
    compact: Service,
    shop: Shop,
    *,
    recall_type: str = "",
    request_num: int = 0,
    columnar: bool = False,
    explain: bool = False,
) -> RecallResponse:
    """Candidates for a known user."""
    user = UM.call(compact.target("um"), UserModelRequest(user_id=shop.user_ids[3]))
    request = RecallRequest(
        user_info=user.user_info,
        history=user.history,
        recall_type=recall_type,
        request_num=request_num,
        columnar=columnar,
        explain=explain,
    )
    return RECALL.call(compact.target("recall"), request)


def test_values_unknown_to_the_release_are_scored(compact: Service, ask: Ask) -> None:
    """Neither the user's nor the items' values occur in training; both rank and the chain give finite scores."""
    strange = UserInfo(age="ninety", sex="?", city="atlantis", country="\u2603")
    items = [ItemInfo(sku_id="new", brand="never", shopid="seen", cate="999999"), ItemInfo(sku_id="bare")]
    before = unknown_values(compact)
    answer = rank(compact, RankRequest(user_info=strange, item_infos=items))

    assert [pair.nid for pair in answer.score_pairs] == ["new", "bare"]
    assert all(math.isfinite(pair.score) for pair in answer.score_pairs)
    assert unknown_values(compact) > before
    recommended = ask(ASRequest(user_info=strange))
    check_full(recommended)
    assert all(math.isfinite(item.rank_score) for item in recommended.item_infos)


def test_an_item_newer_than_the_release_is_found_and_ranked(compact: Service, ask: Ask, trained_shop: Shop) -> None:
    """The item is added after training, and its values do not occur in training."""
    collection = trained_shop.store.manifest(str(trained_shop.store.active())).collection
    writer, redis = MilvusWriter(trained_shop.milvus.uri), RedisWriter(trained_shop.redis.url)
    nearest = np.zeros(VECTOR_DIM, np.float32)
    nearest[-1] = 100  # A bias that makes it the nearest item of every user.
    info = ItemInfo(sku_id="fresh", brand="never seen", cate="999999")
    redis.write({redis.keys.item("fresh"): info.SerializeToString()})
    writer.insert(collection, ["fresh"], nearest[None], replace=True)

    def is_found() -> bool:
        return "fresh" in recall(compact, trained_shop, recall_type="two_tower").unlisted_ids

    try:
        wait_until(is_found, compact, "Milvus")
        before = unknown_values(compact)
        for user_id in trained_shop.user_ids[:10]:
            answer = ask(ASRequest(user_id=user_id, size=MAX_RECOMMENDATIONS))
            assert (len(answer.item_infos), list(answer.degraded)) == (MAX_RECOMMENDATIONS, [])
            assert all(math.isfinite(item.rank_score) for item in answer.item_infos)
        ranked = rank(compact, RankRequest(user_info=YOUNG, item_ids=trained_shop.sku_ids, item_infos=[info]))
        assert "fresh" in {pair.nid for pair in ranked.score_pairs}
        assert unknown_values(compact) > before
    finally:
        redis.delete([redis.keys.item("fresh")])
        MilvusClient(trained_shop.milvus.uri).delete(collection, ids=["fresh"], timeout=10)
        wait_until(lambda: not is_found(), compact, "Milvus")


def test_rank_gives_the_best_of_items_by_id_and_by_fields(compact: Service, trained_shop: Shop) -> None:
    sku_ids = trained_shop.sku_ids[:50]
    items = [ItemInfo(sku_id="new", brand="2", shopid="32", cate="0")]
    everything = rank(compact, RankRequest(user_info=OLD, item_ids=sku_ids, item_infos=items))
    best = rank(compact, RankRequest(user_info=OLD, item_ids=sku_ids, item_infos=items, size=5))

    assert len(everything.score_pairs) == len(sku_ids) + len(items)
    assert list(best.score_pairs) == list(everything.score_pairs[:5])
    scores = [pair.score for pair in everything.score_pairs]
    assert scores == sorted(scores, reverse=True)


def test_rank_gives_debiased_scores_on_request(compact: Service, trained_shop: Shop) -> None:
    sku_ids = trained_shop.sku_ids[:200]
    plain = rank(compact, RankRequest(user_info=OLD, item_ids=sku_ids))
    debiased = rank(compact, RankRequest(user_info=OLD, item_ids=sku_ids, affinity=True))
    assert [pair.nid for pair in debiased.score_pairs] != [pair.nid for pair in plain.score_pairs]
    scores = [pair.score for pair in debiased.score_pairs]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) > 100


def test_scores_do_not_depend_on_the_order_of_the_request(compact: Service, trained_shop: Shop) -> None:
    """Only `ordered` requests may keep their order, whether or not the release has a ranker for the segment."""
    sku_ids = list(trained_shop.sku_ids[:60])
    forward, backward = (
        rank(compact, RankRequest(user_info=OLD, item_ids=order)) for order in (sku_ids, sku_ids[::-1])
    )
    expected = {pair.nid: pair.score for pair in backward.score_pairs}
    assert {pair.nid: pair.score for pair in forward.score_pairs} == pytest.approx(expected, abs=1e-5)


def rank(compact: Service, request: RankRequest) -> RankResponse:
    return RANK.call(compact.target("rank"), request)


def unknown_values(service: Service) -> float:
    return service.metric("recmesh_unknown_values_total")


def test_a_history_in_the_request_replaces_the_stored_one(compact: Service, ask: Ask, trained_shop: Shop) -> None:
    one, other = (
        UM.call(compact.target("um"), UserModelRequest(user_id=user_id)) for user_id in trained_shop.user_ids[3:5]
    )
    expected = ask(ASRequest(user_id=one.user_info.user_id, size=20))
    assert len(ids(expected)) == 20
    # A guest with the profile and the history of a user, and another user with both.
    for user_id in ("", other.user_info.user_id):
        answer = ask(ASRequest(user_id=user_id, user_info=one.user_info, history=one.history, size=20))
        assert list(answer.item_infos) == list(expected.item_infos)
        assert not answer.unknown_user
    assert UM.call(compact.target("um"), UserModelRequest(user_id=other.user_info.user_id)) == other


def test_a_guest_with_the_ids_of_a_history_gets_a_list_of_their_own(ask: Ask, trained_shop: Shop) -> None:
    bought = trained_shop.sku_ids[:3]
    answer = ask(ASRequest(history={"sku_ids": bought}, new_only=True, size=20))
    assert len(ids(answer)) == 20
    assert not set(ids(answer)) & set(bought)
    assert ids(answer) != ids(ask(ASRequest(size=20)))
