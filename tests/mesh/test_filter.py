"""Requests with a filter: the lists hold exactly the items that pass it, also without recall or cm."""

import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from recmesh.conditions import Condition
from recmesh.contract import TWO_TOWER
from recmesh.features import Encoder
from recmesh.filters import to_message
from recmesh.pb.as_pb2 import ASRequest, ASResponse
from recmesh.pb.feed_pb2 import ItemUpdate, PutItemsRequest, RemoveItemsRequest, SetAvailabilityRequest
from recmesh.pb.recall_pb2 import RecallRequest
from recmesh.pb.um_pb2 import UserModelRequest
from recmesh.pb.user_info_pb2 import UserInfo
from recmesh.releases import read_manifest
from recmesh.retrieval.scenarios import Scenarios
from recmesh.serving.compute_gate import ComputeGate
from recmesh.serving.models import UnknownValues, UserFeatureCache
from recmesh.serving.stages import CandidateQuery
from recmesh.stores.milvus import MilvusReader
from recmesh.stores.redis import RedisReader
from services.recall import core
from services.recall.core import RecallCore, RecallRelease
from services.recall.new_items import LatestNewItems
from services.recall.trending import Trending
from services.um.core import UmCore
from tests.calls import AS, PUT_ITEMS, RECALL, REMOVE_ITEMS, SET_AVAILABILITY, UM
from tests.mesh.conftest import Ask, ids
from tests.mesh.test_faults import wait_until_not_degraded
from tests.processes import Service, running
from tests.servers import MilvusServer, running_redis
from tests.shop import Shop, open_shop, running_apart
from tests.waiting import eventually

FIELDS = ("brand", "shopid", "cate")
CATEGORIES = [",".join(map(str, range(count))) for count in range(1, 11)]
"""Ten filters that let 13, 26, ... and 129 items pass."""


def items_of(shop: Shop) -> dict[str, dict[str, str]]:
    """The fields of each item, as the data set has them."""
    rows = [line.split(":") for line in (shop.folder / "data" / "products.dat").read_text().splitlines()]
    return {row[0]: dict(zip(FIELDS, row[1:], strict=True)) for row in rows}


def passing(items: Mapping[str, Mapping[str, str]], *texts: str) -> set[str]:
    """The items that pass a filter."""
    conditions = list(map(Condition.parse, texts))
    values = {sku_id: {"sku_id": [sku_id], **{f: [v] for f, v in item.items()}} for sku_id, item in items.items()}
    return {sku_id for sku_id, item in values.items() if all(condition.met_by(item) for condition in conditions)}


def filtered(user_id: str, *texts: str, size: int = 200, **fields: Any) -> ASRequest:
    request = ASRequest(user_id=user_id, size=size, filter=to_message(map(Condition.parse, texts)))
    request.MergeFrom(ASRequest(**fields))
    return request


@pytest.mark.parametrize("values", CATEGORIES)
def test_a_list_holds_exactly_the_items_of_the_categories(ask: Ask, trained_shop: Shop, values: str) -> None:
    expected = passing(items_of(trained_shop), f"cate={values}")
    assert len(expected) == min(13 * (values.count(",") + 1), 130)
    profile = UserInfo(age="5.0", city="120.0")
    known = filtered(trained_shop.user_ids[3], f"cate={values}")
    for request in (known, filtered("", f"cate={values}"), filtered("", f"cate={values}", user_info=profile)):
        answer = ask(request)
        assert not answer.degraded
        assert len(answer.item_infos) == len(expected)
        assert set(ids(answer)) == expected


def test_a_list_is_full_if_more_items_pass(ask: Ask, trained_shop: Shop) -> None:
    answer = ask(filtered(trained_shop.user_ids[4], "cate!=0,1,2", size=200))
    assert not answer.degraded
    assert len(set(ids(answer))) == 200
    assert set(ids(answer)) <= passing(items_of(trained_shop), "cate!=0,1,2")


@pytest.mark.parametrize(
    "texts",
    [
        ("cate<=3",),
        ("cate=4..6", "shopid!=1,2,3"),
        ("brand>=20", "brand<=90", "cate!=7"),
        ("cate=999",),
        ("cate=3", "cate=4"),
    ],
    ids=" ".join,
)
def test_all_conditions_hold(ask: Ask, trained_shop: Shop, texts: Sequence[str]) -> None:
    answer = ask(filtered(trained_shop.user_ids[5], *texts))
    assert not answer.degraded
    assert set(ids(answer)) == passing(items_of(trained_shop), *texts)


def test_excluded_items_and_those_of_the_history_are_left_out_as_well(ask: Ask, trained_shop: Shop) -> None:
    everything = passing(items_of(trained_shop), "cate=0,1,2,3,4,5")
    excluded = sorted(everything)[:7]
    user_id = trained_shop.user_ids[6]
    answer = ask(filtered(user_id, "cate=0,1,2,3,4,5", exclude_ids=excluded))
    assert set(ids(answer)) == everything - set(excluded)
    new = set(ids(ask(filtered(user_id, "cate=0,1,2,3,4,5", new_only=True))))
    assert new < everything
    assert set(ids(ask(filtered(user_id, "cate=0,1,2,3,4,5", history={"sku_ids": excluded}, new_only=True)))) == (
        everything - set(excluded)
    )


@pytest.mark.parametrize("channel", ["two_tower", "neighbours", "popular", "bought_before"])
def test_a_channel_keeps_its_order(compact: Service, trained_shop: Shop, channel: str) -> None:
    """Of those that pass, the best ones: the depth counts after the filter.

    Neighbours are fused from the positions in three lists, which a filter and a depth change.
    """
    for user_id in trained_shop.user_ids[:5]:
        user = UM.call(compact.target("um"), UserModelRequest(user_id=user_id))

        def recalled(size: int, *texts: str) -> list[str]:
            request = RecallRequest(
                user_info=user.user_info,  # noqa: B023
                history=user.history,  # noqa: B023
                recall_type=channel,
                request_num=size,
                columnar=True,
                filter=to_message(map(Condition.parse, texts)),
            )
            return list(RECALL.call(compact.target("recall"), request).candidates.ids)

        allowed = passing(items_of(trained_shop), "cate=5..9")
        expected = [sku_id for sku_id in recalled(1_000) if sku_id in allowed]
        found = recalled(1_000, "cate=5..9")
        assert set(found) == set(expected)
        best = recalled(5, "cate=5..9")
        assert len(best) == min(5, len(expected))
        assert set(best) <= set(expected)
        if channel != "neighbours":
            assert (found, best) == (expected, expected[:5])


def test_an_unknown_field_is_refused_with_those_that_exist(ask: Ask, trained_shop: Shop) -> None:
    with pytest.raises(grpc.RpcError) as error:
        ask(filtered(trained_shop.user_ids[0], "category=5"))
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    named = "filter: item field 'category' is unknown: use one of sku_id, brand, cate, shopid"
    assert str(error.value.details()).removeprefix("recall: INVALID_ARGUMENT ") == named


@pytest.mark.parametrize("text", ["cate!=0", "cate=0..5", "cate=3"])
async def test_of_many_items_those_that_milvus_finds_are_the_best(
    trained_shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """The limit from which on Milvus is asked does not change the lists."""
    store = trained_shop.store
    folder = store.fetch(store.active() or "", tmp_path)
    encoder = Encoder.load(folder)
    milvus, redis = MilvusReader(trained_shop.milvus.uri), RedisReader(trained_shop.redis.url)
    features, unknown = UserFeatureCache(encoder, folder), UnknownValues("test", encoder)
    items, gate = LatestNewItems(encoder), ComputeGate()
    parts = (features, unknown, milvus, gate, items, Scenarios(), Trending(encoder, items))
    release = RecallRelease.warmed(read_manifest(folder), encoder, *parts)
    await release.item_fields.refresh(redis)
    releases: Any = SimpleNamespace(get=lambda _: ("release", release))
    recall, conditions = RecallCore(releases, ComputeGate(), 60.0), [Condition.parse(text)]
    for user_id in trained_shop.user_ids[:10]:
        user = await UmCore(redis).find(user_id, 60.0)
        assert user is not None
        query = CandidateQuery(user, 40, TWO_TOWER, conditions=conditions)
        monkeypatch.setattr(core, "_MAX_EXACT", 1_000)
        exact = await recall.recall(query, 60.0)
        monkeypatch.setattr(core, "_MAX_EXACT", 0)
        searched = await recall.recall(query, 60.0)
        assert list(searched.ids) == list(exact.ids)
        assert list(searched.scores) == pytest.approx(list(exact.scores), abs=1e-4)
        assert len(exact.ids) == min(40, len(passing(items_of(trained_shop), text)))
    await milvus.close()
    await redis.close()


@pytest.fixture(scope="module")
def changing(
    training_folder: Path, milvus_server: MilvusServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Shop, Service, Service]]:
    """A shop of its own, with compact and feed."""
    with running_redis() as redis:
        shop = open_shop(training_folder, tmp_path_factory.mktemp("filter"), redis, milvus_server)
        with running("compact", shop.environment) as compact, running("feed", shop.environment) as feed:
            yield shop, compact, feed


def test_changes_of_fields_move_items_in_and_out(changing: tuple[Shop, Service, Service]) -> None:
    shop, compact, feed = changing

    def listed(*texts: str, user_id: str = shop.user_ids[0]) -> set[str]:
        return set(ids(AS.call(compact.target("as"), filtered(user_id, *texts))))

    def put(sku_id: str, **fields: str) -> None:
        request = PutItemsRequest(items=[ItemUpdate(sku_id=sku_id, fields=fields)])
        assert PUT_ITEMS.call(feed.target("feed"), request).accepted == 1

    fours, fives = (passing(items_of(shop), f"cate={cate}") for cate in "45")
    moved, *others = sorted(fours)
    assert (listed("cate=4"), listed("cate=5")) == (fours, fives)
    put(moved, cate="5")
    eventually(lambda: (listed("cate=4"), listed("cate=5")) == (set(others), fives | {moved}), lambda: listed("cate=4"))
    put(moved, cate="4")
    eventually(lambda: (listed("cate=4"), listed("cate=5")) == (fours, fives), lambda: listed("cate=4"))
    # A value that no item had before, and an item without a value.
    put(moved, cate="fresh")
    eventually(lambda: listed("cate=fresh") == {moved}, lambda: listed("cate=fresh"))
    put(moved, cate="")
    eventually(lambda: moved in listed("sku_id=" + moved, "cate!=4"), lambda: listed("cate!=4"))
    assert listed("cate=4") == set(others)
    # Items that are not in the release: also for nobody in particular.
    put("added", cate="added", brand="7")
    for user_id in (shop.user_ids[0], ""):
        eventually(lambda: listed("cate=added", user_id=user_id) == {"added"}, lambda: listed("cate=added"))  # noqa: B023
    put("added", cate="4")
    eventually(lambda: listed("cate=4") == {*others, "added"}, lambda: listed("cate=4"))
    assert listed("cate=added") == set()
    # Items that are hidden or removed.
    hidden = SetAvailabilityRequest(sku_ids=others[:1], available=False)
    assert SET_AVAILABILITY.call(feed.target("feed"), hidden).accepted == 1
    assert REMOVE_ITEMS.call(feed.target("feed"), RemoveItemsRequest(sku_ids=["added"])).accepted == 1
    eventually(lambda: listed("cate=4") == set(others[1:]), lambda: listed("cate=4"))
    # An ingestion writes the values of the data set again.
    data = shop.folder / "data" / "products.dat"
    swapped = others[1]
    lines = [
        line.rpartition(":")[0] + ":6" if line.startswith(f"{swapped}:") else line
        for line in data.read_text().splitlines()
    ]
    data.write_text("".join(f"{line}\n" for line in lines))
    shop.ingest()
    sixes = passing(items_of(shop), "cate=6")
    assert swapped in sixes
    eventually(lambda: listed("cate=6") == sixes, lambda: listed("cate=6"))
    assert listed("cate=4") == set(others[2:])


def test_without_recall_or_cm_no_item_violates_the_filter(trained_shop: Shop) -> None:
    with running_apart(trained_shop) as services:
        target, user_id = services["as"].target("as"), trained_shop.user_ids[0]
        wait_until_not_degraded(target, services["as"], user_id)

        def answer(*texts: str, size: int = 200) -> ASResponse:
            return AS.call(target, filtered(user_id, *texts, size=size))

        def degraded(*stages: str) -> None:
            eventually(lambda: set(answer("cate=2").degraded) == set(stages), lambda: answer("cate=2").degraded)

        twos = passing(items_of(trained_shop), "cate=2")
        others = passing(items_of(trained_shop), "cate!=2")
        whole = ids(answer("cate=2"))
        assert set(whole) == twos
        services["cm"].signal_group(signal.SIGSTOP)
        degraded("cm")
        # recall has applied the filter.
        assert ids(answer("cate=2")) == whole
        services["recall"].kill()
        degraded("recall", "cm")
        assert ids(answer("cate=2")) == ids(answer("cate!=2")) == []
        services["cm"].signal_group(signal.SIGCONT)
        degraded("recall")
        # The popular list has all items of this shop.
        assert set(ids(answer("cate=2"))) == twos
        assert len(answer("cate!=2", size=50).item_infos) == 50
        assert set(ids(answer("cate!=2"))) <= others
        assert ids(answer("category=2")) == []
