"""The four stages that the chain talks to, and their remote form.

A stage is a protocol. Its remote form is the gRPC client here; its local form is the core of the service itself, in the
same process (services/compact). Both take and give the same plain values, so the chain cannot tell them apart.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import grpc

from recmesh.errors import Unavailable
from recmesh.pb import cm_pb2, rank_pb2, recall_pb2, um_pb2
from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.pb.user_info_pb2 import History, UserInfo
from recmesh.serving import tracing
from recmesh.serving.channels import ReconnectWait, as_recmesh_error
from recmesh.serving.deadline import Deadline
from recmesh.serving.rpc import with_raw_fields

OK = 200
FAILED = 500


@dataclass(frozen=True, slots=True)
class RequestUser:
    """Who is asking: a profile and recent actions, each of which may be empty."""

    info: UserInfo
    history: History


ANONYMOUS = RequestUser(UserInfo(), History())
"""Someone of whom nothing is known."""


class ChannelScores(NamedTuple):
    """What one channel gave: its score of the candidate at each position of the list. Lists or arrays."""

    positions: Iterable[int]
    scores: Iterable[float]


@dataclass(frozen=True, slots=True)
class CandidateQuery:
    """Candidates wanted for a user; see RecallRequest for the meaning of empty fields. `explain`: `channels` matter."""

    user: RequestUser
    size: int
    channel: str = ""
    exclude: Sequence[str] = ()
    new_only: bool = False
    release: str = ""
    explain: bool = False


@dataclass(frozen=True, slots=True)
class CandidateList:
    """Candidates, best first; `unlisted` are those that the release's item table does not hold."""

    ids: Sequence[str]
    scores: Sequence[float]
    release: str
    new_only: bool = False
    channels: Mapping[str, ChannelScores] = field(default_factory=dict)
    unlisted: Sequence[str] = ()
    degraded: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ScoreQuery:
    """Items to score for a user: by id, then (`items`) by their fields. `size` best are answered; 0: all.

    `affinity`: not for a list, but to judge pairs: how much more the user is drawn to an item than its popularity says.
    `ordered`: the items come in an order that stays where the release's ranker does not beat it.
    """

    user: RequestUser
    ids: Sequence[str]
    items: Sequence[ItemInfo] = ()
    size: int = 0
    new_only: bool = False
    release: str = ""
    affinity: bool = False
    ordered: bool = False


@dataclass(frozen=True, slots=True)
class ScoreList:
    """Scored items: best first, or in the order asked for where items came by their fields alone."""

    ids: Sequence[str]
    scores: Sequence[float]
    release: str
    degraded: Sequence[str] = ()


class UserStage(Protocol):
    """um: who a user is."""

    async def find(self, user_id: str, timeout: float) -> RequestUser | None:
        """The user, or None if there is none; raises RecmeshError within `timeout` seconds if um is away."""
        ...


class CandidateStage(Protocol):
    """recall: a few hundred candidates."""

    async def recall(self, query: CandidateQuery, timeout: float) -> CandidateList:
        """Raises RecmeshError within `timeout` seconds if recall is away."""
        ...


class RankStage(Protocol):
    """rank: a score for each candidate."""

    async def rank(self, query: ScoreQuery, timeout: float) -> ScoreList:
        """Raises RecmeshError within `timeout` seconds if rank is away."""
        ...


class ItemStage(Protocol):
    """cm: what items are."""

    async def get(self, sku_ids: Sequence[str], timeout: float) -> Sequence[bytes | None]:
        """A serialized ItemInfo for each id, or None where there is none; raises RecmeshError if cm is away."""
        ...


class RemoteUserStage:
    """um over gRPC."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._call = _Call("um", channel, "/um.UMService/um_call", um_pb2.UserModelResponse)

    async def find(self, user_id: str, timeout: float) -> RequestUser | None:
        """See `UserStage`."""
        answer = await self._call(um_pb2.UserModelRequest(user_id=user_id), timeout)
        return RequestUser(answer.user_info, answer.history) if answer.error.code == OK else None


class RemoteCandidateStage:
    """recall over gRPC."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._call = _Call("recall", channel, "/recall.RecallService/recall", recall_pb2.RecallResponse)

    async def recall(self, query: CandidateQuery, timeout: float) -> CandidateList:
        """See `CandidateStage`."""
        request = recall_pb2.RecallRequest(
            user_info=query.user.info,
            recall_type=query.channel,
            request_num=query.size,
            history=query.user.history,
            exclude_ids=query.exclude,
            new_only=query.new_only,
            release=query.release,
            columnar=True,
            explain=query.explain,
        )
        answer = await self._call(request, timeout)
        if answer.error.code != OK:
            raise Unavailable(f"recall: {answer.error.text}")
        return CandidateList(
            ids=answer.candidates.ids,
            scores=answer.candidates.scores,
            release=answer.release,
            new_only=answer.new_only,
            channels={c.name: ChannelScores(c.positions, c.scores) for c in answer.channels},
            unlisted=answer.unlisted_ids,
            degraded=answer.degraded,
        )


class RemoteRankStage:
    """rank over gRPC."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._call = _Call("rank", channel, "/RankService/rank_predict", rank_pb2.RankResponse)

    async def rank(self, query: ScoreQuery, timeout: float) -> ScoreList:
        """See `RankStage`."""
        request = rank_pb2.RankRequest(
            user_info=query.user.info,
            item_infos=query.items,
            history=query.user.history,
            release=query.release,
            new_only=query.new_only,
            item_ids=query.ids,
            size=query.size,
            affinity=query.affinity,
            ordered=query.ordered,
        )
        answer = await self._call(request, timeout)
        if answer.error.code != OK:
            raise Unavailable(f"rank: {answer.error.text}")
        pairs = answer.score_pairs
        return ScoreList([p.nid for p in pairs], [p.score for p in pairs], answer.release, answer.degraded)


class RemoteItemStage:
    """cm over gRPC; the items of the answer stay serialized."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._call = _Call("cm", channel, "/cm.CMService/cm_call", with_raw_fields(cm_pb2.CMResponse, "item_infos"))

    async def get(self, sku_ids: Sequence[str], timeout: float) -> Sequence[bytes | None]:
        """See `ItemStage`."""
        answer = await self._call(cm_pb2.CMRequest(item_ids=sku_ids), timeout)
        if not answer.missing_ids:
            return list(answer.item_infos)
        missing, found = set(answer.missing_ids), iter(answer.item_infos)
        return [None if sku_id in missing else next(found) for sku_id in sku_ids]


class _Call:
    """One unary method: passes the trace on, waits for another server where the last one has gone, and turns failures
    into RecmeshErrors."""

    def __init__(self, stage: str, channel: grpc.aio.Channel, method: str, answer: Any) -> None:
        self._stage = stage
        self._reconnect_wait = ReconnectWait(channel)
        self._method: Any = channel.unary_unary(
            method, request_serializer=lambda m: m.SerializeToString(), response_deserializer=answer.FromString
        )

    async def __call__(self, request: Any, timeout: float) -> Any:
        left = Deadline(timeout)
        try:
            try:
                return await self._ask(request, timeout)
            except grpc.aio.AioRpcError as error:
                away = error.code() is grpc.StatusCode.UNAVAILABLE
                if not (away and await self._reconnect_wait.reconnected(left.remaining())):
                    raise
            return await self._ask(request, left.remaining())
        except grpc.aio.AioRpcError as error:
            raise as_recmesh_error(self._stage, error) from error

    async def _ask(self, request: Any, timeout: float) -> Any:
        answer = await self._method(request, timeout=timeout, metadata=tracing.outgoing_metadata())
        self._reconnect_wait.answered()
        return answer
