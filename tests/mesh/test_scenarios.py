"""Lists for scenarios over the wire: both ways to run the services, hidden items, live new items, older releases."""

from pathlib import Path

import grpc
import pytest

from recmesh.features import Encoder
from recmesh.features.encoder import FEATURES
from recmesh.pb.as_pb2 import ASRequest, ASResponse
from recmesh.retrieval import Retriever, merge
from recmesh.retrieval.scenarios import LISTS_FILE, SCENARIO_FILE, ListScenario, Scenarios
from tests.calls import AS
from tests.mesh.conftest import Ask, ids
from tests.mesh.test_live import Live
from tests.mesh.test_live import live as live
from tests.mesh.test_release_switch import copied_release
from tests.shop import Shop
from tests.waiting import eventually

SIZE = 20
LISTS: tuple[ListScenario, ...] = ("related", "basket")


@pytest.fixture(scope="module")
def retriever(trained_shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    """The retriever of the release that the shop serves."""
    active = trained_shop.store.active()
    assert active is not None
    folder = trained_shop.store.fetch(active, tmp_path_factory.mktemp("served"))
    encoder = Encoder.load(folder)
    return Retriever(encoder, Scenarios.load(folder / FEATURES, len(encoder.catalogue)))


def listed(retriever: Retriever, scenario: ListScenario) -> list[str]:
    """Items that have lists, those with the longest first."""
    start = retriever.scenarios.lists[scenario].start
    order = sorted(range(len(start) - 1), key=lambda item: start[item] - start[item + 1])
    return [retriever.encoder.catalogue.sku_ids[item] for item in order]


@pytest.mark.parametrize("scenario", LISTS)
def test_a_list_is_that_of_the_release_and_full(ask: Ask, retriever: Retriever, scenario: ListScenario) -> None:
    context = listed(retriever, scenario)[:3]
    answer = ask(ASRequest(scenario=scenario, context_ids=context, size=200, explain=True))
    items = retriever.encoder.catalogue.encode(context)
    found = retriever.going_with(scenario, items, items)
    settings = retriever.scenarios.settings.lists[scenario]
    expected = merge(found, settings.channels, 400, retriever.encoder.scratch).items[:200].tolist()
    assert ids(answer) == [retriever.encoder.catalogue.sku_ids[item] for item in expected]
    assert len(ids(answer)) == 200
    assert not set(context) & set(ids(answer))
    assert list(answer.degraded) == []
    assert all(item.cate for item in answer.item_infos)
    scores = [item.rank_score for item in answer.item_infos]
    assert scores == sorted(scores, reverse=True)
    assert {part.channel for reason in answer.reasons for part in reason.channels} <= set(settings.channels)


def test_repeat_has_only_items_of_the_history(ask: Ask, trained_shop: Shop) -> None:
    for user_id in trained_shop.user_ids[:5]:
        answer = ask(ASRequest(user_id=user_id, scenario="repeat", size=200))
        home = ask(ASRequest(user_id=user_id, size=200, new_only=True))
        assert ids(answer)
        assert not set(ids(answer)) & set(ids(home))
    assert ids(ask(ASRequest(user_id="nobody", scenario="repeat"))) == []


def test_a_guest_with_a_history_gets_its_items_again(ask: Ask, trained_shop: Shop) -> None:
    history = {"sku_ids": trained_shop.sku_ids[:4]}
    answer = ask(ASRequest(history=history, scenario="repeat", exclude_ids=[trained_shop.sku_ids[0]]))
    assert sorted(ids(answer)) == sorted(trained_shop.sku_ids[1:4])


@pytest.mark.parametrize(
    ("request_", "fault"),
    [
        (ASRequest(scenario="trendy"), "scenario 'trendy' is unknown: use one of home, related, basket, repeat"),
        (ASRequest(scenario="related"), "scenario 'related' needs context_ids"),
        (ASRequest(context_ids=["1"]), "scenario 'home' takes no context_ids: only related and basket do"),
        (ASRequest(scenario="basket", context_ids=["1"] * 101), "context_ids has 101 entries: at most 100"),
        (ASRequest(scenario="basket", context_ids=["é" * 65]), "context_ids: an id has 130 bytes: at most 128"),
    ],
)
def test_a_wrong_request_is_refused_with_the_place(ask: Ask, request_: ASRequest, fault: str) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        ask(request_)
    assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert fault in str(failed.value.details())


def test_items_that_nobody_knows_have_the_popular_list(ask: Ask) -> None:
    def asked(*context: str) -> ASResponse:
        return ask(ASRequest(scenario="related", context_ids=context, size=SIZE, explain=True))

    answer = asked("never seen")
    assert len(ids(answer)) == SIZE
    assert {part.channel for reason in answer.reasons for part in reason.channels} == {"popular"}
    assert ids(asked("nor this one")) == ids(answer)


def test_a_hidden_item_is_in_no_list(live: Live) -> None:
    context = live.shop.sku_ids[0]

    def asked() -> list[str]:
        request = ASRequest(scenario="related", context_ids=[context], size=SIZE)
        return ids(AS.call(live.compact.target("as"), request))

    hidden = asked()[0]
    live.set_available(hidden, False)
    eventually(lambda: hidden not in asked(), asked)
    assert len(asked()) == SIZE
    live.set_available(hidden, True)
    eventually(lambda: hidden in asked(), asked)


def test_an_item_that_is_newer_than_the_release_has_a_list_like_that_of_its_kind(live: Live) -> None:
    original = live.shop.sku_ids[0]
    live.put_item("newcomer", live.fields(original))

    def asked() -> ASResponse:
        request = ASRequest(scenario="related", context_ids=["newcomer"], size=SIZE, explain=True)
        return AS.call(live.compact.target("as"), request)

    def has_channel() -> bool:
        return any(part.channel == "viewed_with" for reason in asked().reasons for part in reason.channels)

    eventually(has_channel, asked)
    answer = asked()
    assert len(ids(answer)) == SIZE
    assert "newcomer" not in ids(answer)


def test_a_release_from_before_the_scenarios_serves_home_and_says_what_is_missing(live: Live, tmp_path: Path) -> None:
    def without_scenarios(release: Path) -> None:
        for name in (SCENARIO_FILE, LISTS_FILE):
            (release / FEATURES / name).unlink()

    copied_release(live.shop, tmp_path, "older-release", without_scenarios)
    live.shop.ingest("--release", "older-release")
    target, request = live.compact.target("as"), ASRequest(user_id=live.shop.user_ids[0], size=SIZE)
    eventually(lambda: AS.call(target, request).release == "older-release", lambda: AS.call(target, request))
    assert len(ids(AS.call(target, request))) == SIZE
    with pytest.raises(grpc.RpcError) as failed:
        AS.call(target, ASRequest(scenario="related", context_ids=[live.shop.sku_ids[0]]))
    assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert failed.value.details() == "release older-release has no lists for related: train again"
