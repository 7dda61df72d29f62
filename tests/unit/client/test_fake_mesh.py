"""The fakes for users' unit tests behave like a mesh, in both forms."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

import pytest

from recmesh.client import (
    AS,
    PUT_ITEMS,
    RANK,
    RECORD_ACTIONS,
    Action,
    AnswerFailed,
    Condition,
    DeadlineExceeded,
    History,
    InvalidRequest,
    Item,
    Mesh,
    Recorded,
    Rejected,
    Unavailable,
    User,
    sync,
)
from recmesh.client.testing import FakeMesh, SyncFakeMesh

T = TypeVar("T")
Fake = FakeMesh | SyncFakeMesh

HISTORY = History(("a",), (1_000,), ("order",), (1.0,))
USERS = [User("1", {"age": "5.0", "job": "cook"}, HISTORY), User("2")]
ITEMS = [Item("a", {"cate": "70"}), Item("b"), Item("c", {"price": "3"})]
RECOMMENDATIONS = {"1": ["c", "a"], "": ["b"]}


@pytest.fixture(params=[FakeMesh, SyncFakeMesh])
def fake(request: pytest.FixtureRequest) -> Fake:
    kind = cast("Callable[..., Fake]", request.param)
    return kind(users=USERS, items=ITEMS, recommendations=RECOMMENDATIONS)


def result(answer: T | Awaitable[T]) -> T:
    """The answer of either form."""
    if not inspect.isawaitable(answer):
        return answer

    async def wait() -> T:
        return await answer

    return asyncio.run(wait())


def recommended(fake: Fake, user_id: str = "", **options: Any) -> list[str]:
    return [item.sku_id for item in result(fake.recommend(user_id, **options)).items]


def test_fakes_stand_for_a_mesh(fake: Fake) -> None:
    assert isinstance(fake, Mesh if isinstance(fake, FakeMesh) else sync.Mesh)


def test_users_and_items_are_those_given(fake: Fake) -> None:
    assert result(fake.um("1")) == USERS[0]
    items = result(fake.cm(["c", "no", "a"]))
    assert (items.found, items.missing) == ((ITEMS[2], ITEMS[0]), ("no",))


def test_unknown_users_and_items_fail_as_the_contract_says(fake: Fake) -> None:
    with pytest.raises(AnswerFailed, match=r'um answered 500: UM server .* \(user_id: "9" \)'):
        result(fake.um("9"))
    with pytest.raises(AnswerFailed, match="cm answered 500"):
        result(fake.cm(["no"]))


def test_recommendations_are_those_given_else_all_items(fake: Fake) -> None:
    answer = result(fake.recommend("1", explain=True))
    assert [(item.sku_id, item.rank_score) for item in answer.items] == [("c", 1.0), ("a", 0.5)]
    assert answer.items[0].fields == {"price": "3"}
    assert answer.reasons == ({"fake": 1.0}, {"fake": 0.5})
    assert (answer.release, answer.degraded) == ("fake", ())
    assert recommended(fake, "2") == ["a", "b", "c"]
    assert recommended(fake) == ["b"]


def test_exclusions_sizes_and_new_items(fake: Fake) -> None:
    assert recommended(fake, "1", new_only=True) == ["c"]
    answer = result(fake.recommend("2", exclude=["a"], size=1))
    assert [item.sku_id for item in answer.items] == ["b"]
    candidates = result(fake.recall(USERS[0], new_only=True))
    assert [candidate.sku_id for candidate in candidates.candidates] == ["c"]
    with pytest.raises(InvalidRequest, match="the limit is 200"):
        result(fake.recommend("1", size=201))
    with pytest.raises(InvalidRequest, match=r"the limit is 1000"):
        result(fake.recall(USERS[0], size=1_001))


def test_pages_continue_a_list(fake: Fake) -> None:
    first = result(fake.recommend("2", size=1, paged=True))
    assert [item.sku_id for item in first.items] == ["a"]
    second = result(fake.next_page(first.next_cursor, size=1))
    assert [item.sku_id for item in second.items] == ["b"]
    result(fake.remove_items(["c"]))
    assert result(fake.next_page(second.next_cursor, size=1)).items == ()
    assert result(fake.recommend("2", size=1)).next_cursor == ""
    with pytest.raises(InvalidRequest, match="cursor is invalid"):
        result(fake.next_page("9"))


def test_what_is_missing_is_explained(fake: Fake) -> None:
    asked = ["c", "a", "b", "no"]
    answer = result(fake.recommend("1", new_only=True, explain_missing=asked))
    assert [(missing.sku_id, missing.reason) for missing in answer.missing] == [
        ("c", "listed"),
        ("a", "history"),
        ("b", "not_proposed"),
        ("no", "unknown"),
    ]
    answer = result(fake.recommend("2", size=1, exclude=["a"], explain_missing=["a", "c"]))
    assert [missing.reason for missing in answer.missing] == ["excluded", "rank"]
    answer = result(fake.recommend("2", filter=[Condition.parse("cate=70")], explain_missing=["b"]))
    assert [missing.reason for missing in answer.missing] == ["filter"]


def test_filters(fake: Fake) -> None:
    assert recommended(fake, "2", filter=[Condition.parse("cate=70")]) == ["a"]
    assert recommended(fake, "2", filter=[Condition.parse("cate!=70"), Condition.parse("sku_id=a,b")]) == ["b"]
    candidates = result(fake.recall(USERS[0], filter=[Condition.parse("price<=3")]))
    assert [candidate.sku_id for candidate in candidates.candidates] == ["c"]


def test_scenarios(fake: Fake) -> None:
    assert recommended(fake, "2", scenario="related", context=["b"]) == ["a", "c"]
    assert recommended(fake, "1", scenario="repeat") == ["a"]
    with pytest.raises(InvalidRequest, match="as: scenario 'basket' needs context_ids"):
        recommended(fake, scenario="basket")
    with pytest.raises(InvalidRequest, match="the limit is 100"):
        recommended(fake, scenario="basket", context=["a"] * 101)


def test_scores_follow_the_recommendations(fake: Fake) -> None:
    assert result(fake.score(USERS[0], ["a", "b", "c", "no"])).by_sku_id == pytest.approx(
        {"c": 1.0, "a": 1 / 2, "b": 1 / 3}
    )
    assert result(fake.rank(USERS[0], [Item("new"), Item("a")])).by_sku_id == {"a": 0.5, "new": 0.0}
    with pytest.raises(InvalidRequest, match="at most 2000 items"):
        result(fake.rank(USERS[0], [Item(str(k)) for k in range(2_001)]))


def test_degraded_answers(fake: Fake) -> None:
    fake.degraded = ("recall:two_tower",)
    assert result(fake.recommend("1")).degraded == ("recall:two_tower",)
    assert result(fake.recall(USERS[0])).degraded == ("recall:two_tower",)
    assert result(fake.score(USERS[0], ["a"])).degraded == ("recall:two_tower",)


def test_failures_on_demand(fake: Fake) -> None:
    fake.fail(Unavailable("um is restarting"), service="um", times=1)
    assert recommended(fake, "1") == ["c", "a"]
    with pytest.raises(Unavailable, match="um is restarting"):
        result(fake.um("1"))
    assert result(fake.um("1")).user_id == "1"
    fake.fail(DeadlineExceeded("too slow"))
    for _ in range(2):
        with pytest.raises(DeadlineExceeded):
            result(fake.recommend("1"))
    fake.recover()
    assert recommended(fake, "1") == ["c", "a"]


def test_calls_are_recorded(fake: Fake) -> None:
    fake.fail(Unavailable("no"), times=1)
    with pytest.raises(Unavailable):
        result(fake.um("1"))
    result(fake.recommend("1", size=2, new_only=True))
    result(fake.score(USERS[0], ["a"], affinity=True))
    assert fake.calls == ("um", "as", "rank")
    (request,) = fake.requests(AS)
    assert (request.user_id, request.size, request.new_only) == ("1", 2, True)
    assert fake.requests(RANK)[0].affinity


def test_recorded_actions_are_in_the_history(fake: Fake) -> None:
    actions = [
        Action("1", "b", time=500, type="view", value=2.0, event_id="e1"),
        Action("3", "c", time=2_000),
        Action("-1", "c"),
        Action("1", "b", time=900, event_id="e1"),
        Action("3", ""),
    ]
    nobody = 'user_id is empty or "-1", which means an anonymous user'
    recorded = result(fake.record(actions))
    assert recorded == Recorded(3, 1, (Rejected(2, nobody), Rejected(4, "sku_id is empty")))
    assert result(fake.um("1")).history == History(("a", "b"), (1_000, 500), ("order", "view"), (1.0, 2.0))
    assert result(fake.um("3")) == User("3", {}, History(("c",), (2_000,), ("action",), (1.0,)))
    (request,) = fake.requests(RECORD_ACTIONS)
    assert [len(action.event_id) for action in request.actions] == [2, 32, 32, 2, 32]
    assert fake.calls == ("feed", "um", "um")


def test_more_than_1000_actions_are_recorded_in_several_calls(fake: Fake) -> None:
    actions = [Action("1", f"i{k}" if k != 1_700 else "") for k in range(2_500)]
    assert result(fake.record(actions)) == Recorded(2_499, 0, (Rejected(1_700, "sku_id is empty"),))
    assert [len(request.actions) for request in fake.requests(RECORD_ACTIONS)] == [1_000, 1_000, 500]


def test_users_change_and_go(fake: Fake) -> None:
    result(fake.put_users([User("1", {"age": "", "city": "7"}), User("3", {"age": "6.0"})]))
    assert result(fake.um("1")) == User("1", {"job": "cook", "city": "7"}, HISTORY)
    assert result(fake.um("3")) == User("3", {"age": "6.0"})
    assert result(fake.delete_user("1")) == Recorded(1, 0, ())
    with pytest.raises(AnswerFailed):
        result(fake.um("1"))


def test_items_change_hide_and_go(fake: Fake) -> None:
    result(fake.put_items([Item("a", {"brand": "x"}), Item("d")]))
    assert result(fake.cm(["a", "d"])).found == (Item("a", {"cate": "70", "brand": "x"}), Item("d"))
    result(fake.set_availability(["a"], False))
    result(fake.remove_items(["c"]))
    assert result(fake.cm(["a", "b", "c"])).missing == ("a", "c")
    assert recommended(fake, "1") == []
    assert recommended(fake, "2") == ["b", "d"]
    result(fake.set_availability(["a", "c"], True))
    assert recommended(fake, "1") == ["a"]
    result(fake.put_items([Item("c", {"brand": "y"})]))
    assert result(fake.cm(["c"])).found == (Item("c", {"brand": "y"}),)
    assert recommended(fake, "1") == ["c", "a"]


def test_feed_fails_on_demand_and_refuses_too_many_entries(fake: Fake) -> None:
    fake.fail(Unavailable("restarting"), service="feed", times=1)
    with pytest.raises(Unavailable, match="restarting"):
        result(fake.put_items([Item("a")]))
    assert result(fake.put_items([Item("a")])).accepted == 1
    request = fake.requests(PUT_ITEMS)[0]
    request.items.extend(request.items[0] for _ in range(1_000))
    with pytest.raises(InvalidRequest, match="items has 1,001 entries: at most 1,000"):
        result(fake.call(PUT_ITEMS, request))
