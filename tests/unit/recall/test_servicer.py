"""recall on the wire."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import numpy as np
import pytest

from recmesh.conditions import Condition
from recmesh.errors import InvalidRequest, Unavailable
from recmesh.pb.recall_pb2 import RecallRequest, RecallResponse
from recmesh.pb.user_info_pb2 import History, UserInfo
from recmesh.serving import deadline
from recmesh.serving.stages import CandidateList, CandidateQuery, ChannelScores, RequestUser
from services.recall.app import endpoint, ready
from services.recall.core import NoChannelAnswered
from services.recall.servicer import RecallServicer
from tests.unit.clock import Clock

FOUND = CandidateList(
    ["b", "a"],
    [2.0, 1.0],
    "r1",
    True,
    {"popular": ChannelScores(np.array([1]), np.array([0.5], np.float32))},
    ["a"],
    ["two_tower"],
    ["", "NA"],
    1_700_000_000_001,
    {"genres": "|"},
)
CATE_5 = (Condition("cate", any_of=("5",)),)
CHANNELS = [{"name": "popular", "positions": [1], "scores": [0.5]}]


class _Core:
    """A core of release r1."""

    congestion = object()

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.asked: list[tuple[CandidateQuery, float]] = []

    async def recall(self, query: CandidateQuery, timeout: float) -> CandidateList:
        self.asked.append((query, timeout))
        if self.error is not None:
            raise self.error
        return FOUND


async def answered(
    monkeypatch: pytest.MonkeyPatch, request: RecallRequest, error: Exception | None = None
) -> tuple[_Core, RecallResponse]:
    Clock(monkeypatch, "recmesh.serving.deadline")
    deadline.start(0.75)
    core: Any = _Core(error)
    return core, await RecallServicer(core).recall(request, None)


async def test_every_field_of_a_request_reaches_the_core(monkeypatch: pytest.MonkeyPatch) -> None:
    user = RequestUser(UserInfo(user_id="5"), History(sku_ids=["a"]))
    request = RecallRequest(
        user_info=user.profile,
        history=user.history,
        recall_type="popular",
        request_num=7,
        exclude_ids=["x"],
        new_only=True,
        release="r0",
        columnar=True,
        explain=True,
        filter={"conditions": [{"field": "cate", "any_of": ["5"]}]},
    )
    core, _ = await answered(monkeypatch, request)
    assert core.asked == [(CandidateQuery(user, 7, "popular", ["x"], True, "r0", True, CATE_5), 0.75)]
    request = RecallRequest(scenario="related", context_ids=["b"], columnar=True)
    core, _ = await answered(monkeypatch, request)
    anyone = RequestUser(UserInfo(), History())
    assert core.asked == [(CandidateQuery(anyone, 100, exclude=[], scenario="related", context=("b",)), 0.75)]


@pytest.mark.parametrize(
    ("columnar", "explain", "explained"), [(True, False, False), (True, True, True), (False, False, True)]
)
async def test_legacy_clients_get_pairs_and_channels_and_others_columns(
    monkeypatch: pytest.MonkeyPatch, columnar: bool, explain: bool, explained: bool
) -> None:
    core, answer = await answered(monkeypatch, RecallRequest(columnar=columnar, explain=explain))
    assert core.asked[0][0].explain is explained
    expected = RecallResponse(
        error={"code": 200},
        release="r1",
        degraded=["two_tower"],
        unlisted_ids=["a"],
        new_only=True,
        missing=["", "NA"],
        now=1_700_000_000_001,
        channels=CHANNELS if explained else [],
        separators={"genres": "|"},
    )
    if columnar:
        expected.candidates.ids.extend(["b", "a"])
        expected.candidates.scores.extend([2, 1])
    else:
        expected.score_pairs.add(nid="b", score=2)
        expected.score_pairs.add(nid="a", score=1)
    assert answer == expected


@pytest.mark.parametrize(("release", "degraded"), [("", []), ("r1", []), ("r0", ["release"])])
async def test_another_release_is_named(monkeypatch: pytest.MonkeyPatch, release: str, degraded: Sequence[str]) -> None:
    _, answer = await answered(monkeypatch, RecallRequest(release=release))
    assert list(answer.degraded) == ["two_tower", *degraded]


async def test_if_no_channel_answers_the_error_prints_the_request_of_the_v0_contract(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    request = RecallRequest(log_id=3, recall_type="two_tower", request_num=7, release="r0", columnar=True)
    _, answer = await answered(monkeypatch, request, NoChannelAnswered("Milvus is down"))
    text = 'Recall server get milvus fail. (log_id: 3\nrecall_type: "two_tower"\nrequest_num: 7\n)'
    assert answer == RecallResponse(error={"code": 500, "text": text}, degraded=["two_tower"])


async def test_the_size_is_100_by_default_and_1000_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [(await answered(monkeypatch, RecallRequest(request_num=n)))[0].asked[0][0].size for n in (0, 1, 1_000)]
    assert sizes == [100, 1, 1_000]
    with pytest.raises(InvalidRequest, match="request_num is 1001: at most 1000"):
        await answered(monkeypatch, RecallRequest(request_num=1_001))
    with pytest.raises(InvalidRequest, match="exclude_ids has 10,001 entries: at most 10,000"):
        await answered(monkeypatch, RecallRequest(exclude_ids=["x"] * 10_001))


def test_the_endpoint_is_that_of_the_contract() -> None:
    check = object()
    arguments: Any = (8950, _Core(), check)
    made = endpoint(*arguments)
    assert (made.name, made.port, made.descriptor.full_name) == ("recall", 8950, "recall.RecallService")
    assert (set(made.methods), made.check, made.congestion) == ({"recall"}, check, _Core.congestion)
    assert made.max_request_bytes == 16 << 20


async def test_milvus_must_serve_the_release_at_the_start_only() -> None:
    serves = AsyncMock(side_effect=[Unavailable("not loaded"), None])
    releases: Any = SimpleNamespace(get=lambda: ("one", SimpleNamespace(milvus_serves=serves)))
    check = ready(releases)
    with pytest.raises(Unavailable, match="not loaded"):
        await check()
    for _ in range(3):
        await check()
    assert serves.await_count == 2
