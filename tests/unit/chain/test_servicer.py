"""as on the wire."""

from typing import Any

import pytest

from recmesh.chain.cursor import Cursor
from recmesh.chain.missing import Missing
from recmesh.chain.model import Answer, Item, Reason, Request
from recmesh.chain.servicer import AsServicer, endpoint
from recmesh.conditions import Condition
from recmesh.errors import InvalidRequest
from recmesh.pb.as_pb2 import ASRequest, ASResponse
from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.pb.user_info_pb2 import History, UserInfo
from recmesh.serving import deadline
from tests.unit.clock import Clock

ITEM = ItemInfo(sku_id="a", brand="b")
ANSWER = Answer(
    [Item("a", ITEM.SerializeToString())],
    "r1",
    ["um"],
    True,
    [Reason("a", [("popular", 0.5), ("new", 0.25)], [("age", -0.125)], ["sale", "pins"])],
    missing=[Missing("z", "rank", "at place 9")],
)
REST = Cursor(["c"], [0.5], "r1", ["um"], missing=["", "NA"])


class _Chain:
    """A chain with one answer, and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Request, float]] = []
        self.continued: list[tuple[Cursor, int, float]] = []

    async def answer(self, request: Request, timeout: float) -> Answer:
        self.asked.append((request, timeout))
        return ANSWER

    async def go_on(self, cursor: Cursor, size: int, timeout: float) -> Answer:
        self.continued.append((cursor, size, timeout))
        return Answer([], "r1", [], rest=REST)


def filtered(*conditions: dict[str, Any]) -> ASRequest:
    return ASRequest(filter={"conditions": [{"field": "cate", **condition} for condition in conditions]})


async def asked(monkeypatch: pytest.MonkeyPatch, request: ASRequest) -> tuple[_Chain, ASResponse]:
    Clock(monkeypatch, "recmesh.serving.deadline")
    deadline.start(0.75)
    chain: Any = _Chain()
    without_log: Any = None
    answer = await AsServicer(chain).as_call(request, without_log)
    return chain, ASResponse.FromString(answer.SerializeToString())


async def test_every_field_of_a_request_reaches_the_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    profile = UserInfo(age="3")
    history = History(sku_ids=["a"], times=[1], types=[0], values=[2.0], type_names=["view"], older_sku_ids=["b"])
    request = ASRequest(
        user_id="5",
        user_info=profile,
        size=7,
        exclude_ids=["x"],
        new_only=True,
        explain=True,
        history=history,
        paged=True,
        explain_missing=["z"],
        filter={"conditions": [{"field": "cate", "any_of": ["5"]}]},
        scenario="home",
    )
    chain, _ = await asked(monkeypatch, request)
    expected = Request(
        "5",
        profile,
        7,
        ["x"],
        True,
        True,
        history=history,
        paged=True,
        explain_missing=("z",),
        conditions=(Condition("cate", any_of=("5",)),),
    )
    assert chain.asked == [(expected, 0.75)]
    chain, _ = await asked(monkeypatch, ASRequest(scenario="basket", context_ids=["a", "b"]))
    assert chain.asked == [(Request("", UserInfo(), 50, [], scenario="basket", context=("a", "b")), 0.75)]
    chain, _ = await asked(monkeypatch, ASRequest(scenario="home"))
    assert chain.asked == [(Request("", UserInfo(), 50, []), 0.75)]


async def test_a_cursor_continues_a_list_and_gives_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    chain, answer = await asked(monkeypatch, ASRequest(cursor=REST.encode(), size=7, log_id=3, paged=True))
    assert chain.continued == [(REST, 7, 0.75)]
    assert Cursor.decode(answer.next_cursor) == REST
    chain, _ = await asked(monkeypatch, ASRequest(cursor=REST.encode()))
    assert chain.continued == [(REST, 50, 0.75)]


@pytest.mark.parametrize("field", [{"user_id": "5"}, {"exclude_ids": ["x"]}, {"new_only": True}, {"explain": True}])
async def test_a_cursor_stands_alone(monkeypatch: pytest.MonkeyPatch, field: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match=f"send it without {next(iter(field))}"):
        await asked(monkeypatch, ASRequest(cursor=REST.encode(), **field))


async def test_every_field_of_an_answer_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    _, answer = await asked(monkeypatch, ASRequest())
    assert answer == ASResponse(
        error={"code": 200},
        item_infos=[ITEM],
        release="r1",
        degraded=["um"],
        unknown_user=True,
        reasons=[
            {
                "sku_id": "a",
                "channels": [{"channel": "popular", "score": 0.5}, {"channel": "new", "score": 0.25}],
                "features": [{"group": "age", "effect": -0.125}],
                "rules": ["sale", "pins"],
            }
        ],
        missing=[{"sku_id": "z", "reason": "rank", "text": "at place 9"}],
    )


async def test_the_size_is_50_by_default_and_200_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [(await asked(monkeypatch, ASRequest(size=size)))[0].asked[0][0].size for size in (0, 1, 200)]
    assert sizes == [50, 1, 200]
    with pytest.raises(InvalidRequest, match="size is 201: at most 200"):
        await asked(monkeypatch, ASRequest(size=201))


@pytest.mark.parametrize(
    ("request_", "fault"),
    [
        (ASRequest(user_id="x" * 129), "user_id: an id has 129 bytes"),
        (ASRequest(exclude_ids=["x"] * 10_001), "exclude_ids has 10,001 entries"),
        (
            ASRequest(scenario="trendy"),
            "scenario 'trendy' is unknown: use one of home, related, basket, repeat, trending$",
        ),
        (ASRequest(scenario="related"), "scenario 'related' needs context_ids, the items that the list refers to"),
        (ASRequest(context_ids=["x"]), "scenario 'home' takes no context_ids: only related and basket do"),
        (ASRequest(scenario="repeat", context_ids=["x"]), "scenario 'repeat' takes no context_ids"),
        (ASRequest(scenario="repeat", new_only=True), "scenario 'repeat' takes no new_only"),
        (ASRequest(scenario="basket", context_ids=["x"] * 101), "context_ids has 101 entries: at most 100"),
        (ASRequest(scenario="basket", context_ids=["x" * 129]), "context_ids: an id has 129 bytes"),
        (ASRequest(history={"sku_ids": ["x"] * 501}), "history.sku_ids has 501 entries: at most 500"),
        (ASRequest(history={"older_sku_ids": ["x"] * 10_001}), "history.older_sku_ids has 10,001 entries"),
        (ASRequest(history={"sku_ids": ["x" * 129]}), "history.sku_ids: an id has 129 bytes"),
        (ASRequest(history={"older_sku_ids": ["x" * 129]}), "history.older_sku_ids: an id has 129 bytes"),
        (ASRequest(history={"sku_ids": ["x"], "times": [1]}), "times, types and values must be empty, or have one"),
        (ASRequest(explain_missing=["x"] * 21), "explain_missing has 21 entries: at most 20"),
        (ASRequest(explain_missing=["x" * 129]), "explain_missing: an id has 129 bytes"),
        (ASRequest(history={"times": [1], "types": [0], "values": [1]}), "times, types and values must be empty"),
        (
            ASRequest(history={"sku_ids": ["x"], "times": [1], "types": [1], "values": [1], "type_names": ["view"]}),
            "types has an index beyond type_names",
        ),
        (filtered(*[{"any_of": ["1"]}] * 21), "filter.conditions has 21 entries: at most 20"),
        (filtered({"any_of": ["1"] * 500}, {"none_of": ["1"] * 501}), "any_of and none_of has 1,001 entries"),
        (filtered({"any_of": ["1"], "none_of": ["x" * 129]}), "filter: an id has 129 bytes: at most 128"),
        (filtered({"any_of": ["1"], "field": "x" * 129}), "filter: an id has 129 bytes: at most 128"),
        (filtered({}), "filter: the condition on cate is empty"),
        (filtered({"range": {"min": 2, "max": 1}}), "filter: the condition on cate: no number is in the range"),
    ],
)
async def test_a_request_beyond_the_limits_is_refused(
    monkeypatch: pytest.MonkeyPatch, request_: ASRequest, fault: str
) -> None:
    with pytest.raises(InvalidRequest, match=fault):
        await asked(monkeypatch, request_)


def test_the_endpoint_is_that_of_the_contract() -> None:
    chain, check = _Chain(), object()
    arguments: Any = (8930, chain, check)
    made = endpoint(*arguments)
    assert (made.name, made.port, made.descriptor.full_name) == ("as", 8930, "as.ASService")
    assert (set(made.methods), made.check, made.congestion) == ({"as_call"}, check, None)
