"""What the remote stages send, and what they make of the answers."""

import asyncio
from dataclasses import replace
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from recmesh.conditions import Condition
from recmesh.contract import BATCH, METHOD_PATHS, PRIORITY
from recmesh.errors import Unavailable
from recmesh.pb import cm_pb2, rank_pb2, recall_pb2, um_pb2
from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.pb.user_info_pb2 import History, UserInfo
from recmesh.serving import logs, priority
from recmesh.serving.stages import (
    CandidateList,
    CandidateQuery,
    ChannelScores,
    RemoteCandidateStage,
    RemoteItemStage,
    RemoteRankStage,
    RemoteUserStage,
    RequestUser,
    ScoreList,
    ScoreQuery,
)
from tests.unit.clock import Clock

USER = RequestUser(UserInfo(user_id="5", age="3"), History(sku_ids=["a"], times=[1], types=[0], type_names=["view"]))


class _Channel:
    """A channel to a service with listed answers.

    Attributes:
        sent: What was asked, how much time there was, and the metadata.
    """

    def __init__(self, *answers: Message | grpc.StatusCode) -> None:
        self.answers = list(answers)
        self.sent: list[tuple[bytes, float, dict[str, str]]] = []
        self.paths: list[str] = []
        self.clock: Clock | None = None
        self.takes = 0.0
        self.state = grpc.ChannelConnectivity.TRANSIENT_FAILURE

    def unary_unary(self, path: str, request_serializer: Any, response_deserializer: Any) -> Any:
        self.paths.append(path)

        async def call(request: Message, timeout: float, metadata: Any) -> Any:
            self.sent.append((request_serializer(request), timeout, dict(metadata)))
            if self.clock is not None:
                self.clock.now += self.takes
            answer = self.answers.pop(0)
            if isinstance(answer, grpc.StatusCode):
                raise grpc.aio.AioRpcError(answer, grpc.aio.Metadata(), grpc.aio.Metadata(), details="why")
            return response_deserializer(answer.SerializeToString())

        return call

    def get_state(self) -> grpc.ChannelConnectivity:
        return self.state

    async def channel_ready(self) -> None:
        return None


def connected(*answers: Message | grpc.StatusCode) -> Any:
    return _Channel(*answers)


async def test_um_is_asked_for_the_user() -> None:
    found = um_pb2.UserModelResponse(error={"code": 200}, user_info=USER.profile, history=USER.history)
    channel = connected(found, um_pb2.UserModelResponse(error={"code": 500}))
    logs.log_id.set(77)
    users = RemoteUserStage(channel)
    assert await users.find("5", 0.5) == USER
    assert await users.find("6", 0.25) is None
    assert channel.paths == [METHOD_PATHS["um"]]
    assert [(um_pb2.UserModelRequest.FromString(sent), timeout) for sent, timeout, _ in channel.sent] == [
        (um_pb2.UserModelRequest(log_id=77, user_id="5"), 0.5),
        (um_pb2.UserModelRequest(log_id=77, user_id="6"), 0.25),
    ]


async def test_recall_gets_every_field_of_a_query() -> None:
    answer = recall_pb2.RecallResponse(
        error={"code": 200},
        release="r1",
        degraded=["two_tower"],
        unlisted_ids=["c"],
        new_only=True,
        missing=["", "-1"],
        now=1_700_000_000_001,
        candidates={"ids": ["b", "c"], "scores": [2, 1]},
        channels=[{"name": "popular", "positions": [1], "scores": [9]}],
        separators={"genres": "|"},
    )
    channel = connected(answer)
    logs.log_id.set(77)
    conditions = (Condition("cate", any_of=("5",)), Condition("price", none_of=("1",), maximum=9))
    query = CandidateQuery(USER, 12, "popular", ("x", "y"), True, "r0", True, conditions)
    found = await RemoteCandidateStage(channel).recall(query, 0.5)
    ((sent, timeout, _),) = channel.sent
    assert (channel.paths, timeout) == ([METHOD_PATHS["recall"]], 0.5)
    assert recall_pb2.RecallRequest.FromString(sent) == recall_pb2.RecallRequest(
        log_id=77,
        user_info=USER.profile,
        recall_type="popular",
        request_num=12,
        history=USER.history,
        exclude_ids=["x", "y"],
        new_only=True,
        release="r0",
        columnar=True,
        explain=True,
        filter={
            "conditions": [
                {"field": "cate", "any_of": ["5"]},
                {"field": "price", "none_of": ["1"], "range": {"max": 9}},
            ]
        },
    )
    channels = {name: ChannelScores(list(part.positions), list(part.scores)) for name, part in found.channels.items()}
    assert channels == {"popular": ChannelScores([1], [9])}
    columns: dict[str, Any] = {
        name: list(getattr(found, name)) for name in ("ids", "scores", "unlisted", "degraded", "missing")
    }
    assert dict(found.separators) == {"genres": "|"}
    assert replace(found, channels={}, separators={}, **columns) == CandidateList(
        ["b", "c"], [2, 1], "r1", True, {}, ["c"], ["two_tower"], ["", "-1"], 1_700_000_000_001
    )


async def test_rank_gets_every_field_of_a_query() -> None:
    pairs = [{"nid": "b", "score": 2}, {"nid": "a", "score": 1}]
    answer = rank_pb2.RankResponse(error={"code": 200}, release="r1", degraded=["paddle-serving"], score_pairs=pairs)
    answer.vectors = b"1234"
    answer.features.add(group="age", effects=[0.5, -0.5])
    channel = connected(answer)
    logs.log_id.set(77)
    query = ScoreQuery(USER, ["a", "b"], [ItemInfo(sku_id="c", cate="tea")], 9, True, "r0", True, True, True, True)
    ranked = await RemoteRankStage(channel).rank(query, 0.5)
    ((sent, timeout, _),) = channel.sent
    assert (channel.paths, timeout) == ([METHOD_PATHS["rank"]], 0.5)
    assert rank_pb2.RankRequest.FromString(sent) == rank_pb2.RankRequest(
        log_id=77,
        user_info=USER.profile,
        item_infos=[ItemInfo(sku_id="c", cate="tea")],
        history=USER.history,
        release="r0",
        new_only=True,
        item_ids=["a", "b"],
        size=9,
        affinity=True,
        ordered=True,
        explain=True,
        with_vectors=True,
    )
    effects = {group: list(of) for group, of in ranked.effects.items()}
    assert replace(ranked, degraded=list(ranked.degraded), effects=effects) == ScoreList(
        ["b", "a"], [2, 1], "r1", ["paddle-serving"], {"age": [0.5, -0.5]}, b"1234"
    )


async def test_an_answer_of_failure_is_an_error() -> None:
    failed = recall_pb2.RecallResponse(error={"code": 500, "text": "Milvus is down"})
    with pytest.raises(Unavailable, match=r"^recall: Milvus is down$"):
        await RemoteCandidateStage(connected(failed)).recall(CandidateQuery(USER, 1), 0.5)
    with pytest.raises(Unavailable, match=r"^rank: no model$"):
        refused = rank_pb2.RankResponse(error={"code": 500, "text": "no model"})
        await RemoteRankStage(connected(refused)).rank(ScoreQuery(USER, ["a"]), 0.5)


async def test_items_stay_serialized_and_missing_ones_are_none() -> None:
    items = [ItemInfo(sku_id=sku_id, cate="tea") for sku_id in ("a", "c")]
    some = cm_pb2.CMResponse(error={"code": 200}, item_infos=items, missing_ids=["b"])
    channel = connected(some, cm_pb2.CMResponse(error={"code": 200}, item_infos=items))
    logs.log_id.set(77)
    stage = RemoteItemStage(channel)
    first, last = (item.SerializeToString() for item in items)
    assert await stage.get(["a", "b", "c"], 0.5) == [first, None, last]
    assert await stage.get(["a", "c"], 0.25) == [first, last]
    assert channel.paths == [METHOD_PATHS["cm"]]
    assert [(cm_pb2.CMRequest.FromString(sent), timeout) for sent, timeout, _ in channel.sent] == [
        (cm_pb2.CMRequest(log_id=77, item_ids=["a", "b", "c"]), 0.5),
        (cm_pb2.CMRequest(log_id=77, item_ids=["a", "c"]), 0.25),
    ]


FOUND = um_pb2.UserModelResponse(error={"code": 200}, user_info=USER.profile, history=USER.history)


async def test_a_call_is_repeated_once_in_the_time_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    channel = connected(grpc.StatusCode.UNAVAILABLE, FOUND)
    channel.clock, channel.takes = Clock(monkeypatch, "recmesh.serving.deadline"), 0.25
    assert await RemoteUserStage(channel).find("5", 1.0) == USER
    assert [timeout for _, timeout, _ in channel.sent] == [1.0, 0.75]
    channel.answers = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAVAILABLE]
    with pytest.raises(Unavailable, match=r"^um: UNAVAILABLE why$"):
        await RemoteUserStage(channel).find("5", 1.0)


@pytest.mark.parametrize("code", [grpc.StatusCode.INTERNAL, grpc.StatusCode.RESOURCE_EXHAUSTED])
async def test_other_failures_are_not_repeated(code: grpc.StatusCode) -> None:
    channel = connected(code)
    with pytest.raises(Exception, match=rf"^um: {code.name} why$"):
        await RemoteUserStage(channel).find("5", 1.0)
    assert len(channel.sent) == 1


async def test_a_channel_that_was_connected_all_along_is_not_tried_again() -> None:
    channel = connected(grpc.StatusCode.UNAVAILABLE)
    channel.state = grpc.ChannelConnectivity.READY
    with pytest.raises(Unavailable):
        await RemoteUserStage(channel).find("5", 1.0)
    assert len(channel.sent) == 1


async def test_a_call_passes_on_whether_it_can_wait() -> None:
    channel = connected(FOUND, FOUND)
    await RemoteUserStage(channel).find("5", 1.0)

    async def waiting() -> None:
        priority.batch.set(True)
        await RemoteUserStage(channel).find("5", 1.0)

    await asyncio.create_task(waiting())
    assert [metadata.get(PRIORITY) for _, _, metadata in channel.sent] == [None, BATCH]
