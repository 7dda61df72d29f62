"""rank on the wire."""

from typing import Any

import pytest

from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.pb.rank_pb2 import RankRequest, RankResponse
from recmesh.pb.user_info_pb2 import History, UserInfo
from recmesh.serving import deadline
from recmesh.serving.stages import RequestUser, ScoreList, ScoreQuery
from services.rank.app import endpoint
from services.rank.servicer import RankServicer
from tests.unit.clock import Clock


class _Core:
    """A core of release r1."""

    congestion = object()

    def __init__(self) -> None:
        self.asked: list[tuple[ScoreQuery, float]] = []

    async def rank(self, query: ScoreQuery, timeout: float) -> ScoreList:
        self.asked.append((query, timeout))
        effects = {"age": [0.5, -0.5]} if query.explain else {}
        vectors = b"1234" if query.vectors else b""
        return ScoreList(["b", "a"], [2.0, 1.0], "r1", ["paddle-serving"], effects, vectors)


async def answered(monkeypatch: pytest.MonkeyPatch, request: RankRequest) -> tuple[_Core, RankResponse]:
    Clock(monkeypatch, "recmesh.serving.deadline")
    deadline.start(0.75)
    core: Any = _Core()
    return core, await RankServicer(core).rank_predict(request, None)


async def test_every_field_of_a_request_reaches_the_core(monkeypatch: pytest.MonkeyPatch) -> None:
    user = RequestUser(UserInfo(user_id="5"), History(sku_ids=["a"]))
    request = RankRequest(
        user_info=user.profile,
        history=user.history,
        item_ids=["a"],
        item_infos=[ItemInfo(sku_id="b")],
        size=2,
        new_only=True,
        release="r0",
        affinity=True,
        ordered=True,
        explain=True,
        with_vectors=True,
    )
    core, _ = await answered(monkeypatch, request)
    assert core.asked == [
        (ScoreQuery(user, ["a"], [ItemInfo(sku_id="b")], 2, True, "r0", True, True, True, True), 0.75)
    ]
    core, _ = await answered(monkeypatch, RankRequest())
    assert core.asked == [(ScoreQuery(RequestUser(UserInfo(), History()), [], []), 0.75)]


@pytest.mark.parametrize(("release", "degraded"), [("", []), ("r1", []), ("r0", ["release"])])
async def test_every_field_of_an_answer_is_sent_and_another_release_is_named(
    monkeypatch: pytest.MonkeyPatch, release: str, degraded: list[str]
) -> None:
    _, answer = await answered(monkeypatch, RankRequest(release=release))
    assert answer == RankResponse(
        error={"code": 200},
        release="r1",
        degraded=["paddle-serving", *degraded],
        score_pairs=[{"nid": "b", "score": 2}, {"nid": "a", "score": 1}],
    )


async def test_vectors_are_sent_if_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    _, answer = await answered(monkeypatch, RankRequest(with_vectors=True))
    assert (answer.vectors, len(answer.features)) == (b"1234", 0)


async def test_effects_are_sent_if_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    _, answer = await answered(monkeypatch, RankRequest(explain=True))
    (features,) = answer.features
    assert (features.group, list(features.effects), answer.vectors) == ("age", [0.5, -0.5], b"")


def test_the_endpoint_is_that_of_the_contract() -> None:
    check = object()
    arguments: Any = (8960, _Core(), check)
    made = endpoint(*arguments)
    assert (made.name, made.port, made.descriptor.full_name) == ("rank", 8960, "RankService")
    assert (set(made.methods), made.check, made.congestion) == ({"rank_predict"}, check, _Core.congestion)
    assert made.max_request_bytes == 16 << 20
