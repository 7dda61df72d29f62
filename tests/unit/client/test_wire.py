import pytest

from recmesh.client import (
    AS,
    CM,
    RANK,
    RECALL,
    UM,
    Action,
    AnswerFailed,
    Candidate,
    Candidates,
    Condition,
    History,
    Item,
    Items,
    Missing,
    Recommendation,
    Scores,
    Targets,
    User,
    check_answer,
    wire,
)
from recmesh.contract import MAX_REQUEST_BYTES


def test_a_history_survives_the_wire() -> None:
    history = History(("a", "b", "c"), (3, 2, 1), ("order", "view", "order"), (2.0, 1.0, 1.0), ("z",))
    message = wire.history_message(history)
    assert list(message.type_names) == ["order", "view"]
    assert wire.to_user(UM.response(history=message)).history == history


def test_fields_go_by_number_or_as_attributes_and_come_back() -> None:
    item = Item("a", {"brand": "x", "price": "3"})
    message = wire.item_info(item)
    assert (message.brand, dict(message.attributes)) == ("x", {"price": "3"})
    assert wire.to_item(message) == item


def test_the_paths_are_those_of_the_contract() -> None:
    assert [method.path for method in (UM, CM, RECALL, RANK, AS)] == [
        "/um.UMService/um_call",
        "/cm.CMService/cm_call",
        "/recall.RecallService/recall",
        "/RankService/rank_predict",
        "/as.ASService/as_call",
    ]


def test_targets_come_from_the_environment() -> None:
    targets = Targets.from_environment(
        {"RECMESH_AS_TARGET": "dns:///as:1", "RECMESH_UM_PORT": "7", "RECMESH_CM_TARGET": ""}
    )
    assert [targets[name] for name in ("as", "um", "cm")] == ["dns:///as:1", "127.0.0.1:7", "127.0.0.1:8920"]
    assert targets.having("um", "x:1")["um"] == "x:1"
    assert Targets.from_environment({"RECMESH_FEED_PORT": "9"})["feed"] == "127.0.0.1:9"
    assert Targets.from_environment({})["feed"] == "127.0.0.1:8940"


def test_requests_to_feed_are_as_large_as_they_may_be() -> None:
    def parts(*actions: Action) -> list[tuple[int, bool]]:
        requests = wire.record_requests(actions)
        return [(len(request.actions), request.ByteSize() <= MAX_REQUEST_BYTES) for request in requests]

    assert parts(*[Action("u", "i")] * 2_001) == [(1_000, True), (1_000, True), (1, True)]
    # Such an action counts as 2 KiB: 3 + 3 + 2,003 + 34 bytes for the fields, 5 for tag and length.
    assert parts(*[Action("u", "i", type="t" * 2_000)] * 1_200) == [(511, True), (511, True), (178, True)]
    assert parts(Action("u", "i", type="t" * (1 << 20)), Action("u", "i")) == [(1, False), (1, True)]
    assert parts() == []


USER = User("5", {"age": "3", "job": "cook", "city": ""}, History(("a",), (1,), ("view",), (1.0,), ("z",)))
PROFILE = {"user_id": "5", "age": "3", "attributes": {"job": "cook"}}
HISTORY = {
    "sku_ids": ["a"],
    "times": [1],
    "types": [0],
    "values": [1.0],
    "type_names": ["view"],
    "older_sku_ids": ["z"],
}


def test_every_argument_is_in_the_request_of_recall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recmesh.client.wire.random.getrandbits", lambda bits: bits)
    assert wire.recall_request(USER, 7, "popular", ["x"], True, "r1", [Condition("cate", ("5",))]) == RECALL.request(
        log_id=63,
        user_info=PROFILE,
        recall_type="popular",
        request_num=7,
        history=HISTORY,
        exclude_ids=["x"],
        new_only=True,
        release="r1",
        filter={"conditions": [{"field": "cate", "any_of": ["5"]}]},
    )


def test_every_argument_is_in_the_request_of_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recmesh.client.wire.random.getrandbits", lambda bits: bits)
    item = Item("b", {"brand": "x", "shopid": "6", "cate": "tea", "price": "3"})
    info = {"sku_id": "b", "brand": "x", "shopid": "6", "cate": "tea", "attributes": {"price": "3"}}
    assert wire.rank_request(USER, True, "r1", items=[item], sku_ids=["a"], affinity=True) == RANK.request(
        log_id=63,
        user_info=PROFILE,
        item_infos=[info],
        history=HISTORY,
        new_only=True,
        release="r1",
        item_ids=["a"],
        affinity=True,
    )
    assert wire.um_request("5") == UM.request(log_id=63, user_id="5")
    assert wire.cm_request(["a"]) == CM.request(log_id=63, item_ids=["a"])


def test_a_new_user_gets_the_id_of_legacy_clients() -> None:
    assert wire.user_info("", {}).user_id == "0"
    assert wire.as_request("", None, 0, [], False, False).HasField("user_info") is False
    request = wire.as_request("", None, 0, [], False, False, None, scenario="basket", context=["a", "b"])
    assert (request.scenario, list(request.context_ids)) == ("basket", ["a", "b"])
    assert wire.as_request("", {"age": "3"}, 0, [], False, False).user_info.user_id == "0"


def test_answers_become_values() -> None:
    info = {"sku_id": "a", "brand": "x", "rank_score": 0.5, "attributes": {"price": "3"}}
    item = Item("a", {"brand": "x", "price": "3"}, 0.5)
    user = UM.response(user_info=PROFILE, history=HISTORY)
    assert wire.to_user(user) == User("5", {"age": "3", "job": "cook"}, USER.history)
    assert wire.to_items(CM.response(item_infos=[info], missing_ids=["b"])) == Items((item,), ("b",))
    recalled = RECALL.response(
        score_pairs=[{"nid": "a", "score": 2}, {"nid": "b", "score": 1}],
        channels=[{"name": "popular", "positions": [1, 0], "scores": [9, 8]}],
        release="r1",
        degraded=["two_tower"],
    )
    candidates = (Candidate("a", 2, {"popular": 8}), Candidate("b", 1, {"popular": 9}))
    assert wire.to_candidates(recalled) == Candidates(candidates, "r1", ("two_tower",))
    recommended = AS.response(
        item_infos=[info],
        release="r1",
        degraded=["um"],
        reasons=[
            {
                "sku_id": "a",
                "channels": [{"channel": "new", "score": 0.25}],
                "features": [{"group": "age", "effect": -0.125}],
                "rules": ["sale"],
            }
        ],
        unknown_user=True,
        next_cursor="rest",
        missing=[{"sku_id": "z", "reason": "rank", "text": "at place 9"}],
    )
    assert wire.to_recommendation(recommended) == Recommendation(
        (item,),
        "r1",
        ("um",),
        ({"new": 0.25},),
        True,
        "rest",
        ({"age": -0.125},),
        (Missing("z", "rank", "at place 9"),),
        (("sale",),),
    )


def test_the_scores_of_several_answers_are_one() -> None:
    first = RANK.response(score_pairs=[{"nid": "a", "score": 2}], release="r1", degraded=["x"])
    second = RANK.response(score_pairs=[{"nid": "b", "score": 1}], release="r2", degraded=["y", "x"])
    assert wire.to_scores([first, second]) == Scores({"a": 2, "b": 1}, "r1", ("x", "y"))
    assert wire.to_scores([]) == Scores({}, "", ())


def test_an_answer_of_failure_names_the_service_and_the_code() -> None:
    with pytest.raises(AnswerFailed, match=r"^um answered 500: no such user$"):
        check_answer(UM, UM.response(error={"code": 500, "text": "no\n  such user"}))
    check_answer(UM, UM.response(error={"code": 200}))
