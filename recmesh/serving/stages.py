"""The four stages of the chain, and their remote implementation.

A stage is a protocol. The remote implementation is the gRPC client in this module; the local one is the core of the
service in the same process (services/compact). Both exchange the same plain values, so the chain does not depend on
which one it calls.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, Protocol, TypeVar, cast

import grpc
from google.protobuf.message import Message

from recmesh import spans
from recmesh.conditions import Condition
from recmesh.contract import METHOD_PATHS, OK, ServiceName
from recmesh.errors import Unavailable
from recmesh.filters import to_message
from recmesh.pb import cm_pb2, rank_pb2, recall_pb2, um_pb2
from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.pb.user_info_pb2 import History, UserInfo
from recmesh.serving import logs, priority, tracing
from recmesh.serving.channels import ReconnectWait, as_recmesh_error
from recmesh.serving.deadline import Deadline
from recmesh.serving.rpc import with_raw_fields

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class RequestUser:
    """The user of a request. Profile and history may each be empty."""

    profile: UserInfo
    history: History


ANONYMOUS = RequestUser(UserInfo(), History())
"""A user of whom nothing is known."""


class ChannelScores(NamedTuple):
    """The candidates of one channel: their positions in the candidate list, and their scores. Lists or arrays."""

    positions: Iterable[int]
    scores: Iterable[float]


@dataclass(frozen=True, slots=True)
class CandidateQuery:
    """A query for candidates.

    Attributes:
        user: The user of the request.
        size: Number of candidates.
        channel: The only channel to ask; empty means all channels, merged.
        exclude: Ids of items that must not be candidates.
        new_only: Whether to leave out items of the user's history.
        release: The release to use if it is held; empty means the active one.
        explain: Whether `CandidateList.channels` is needed.
        conditions: What every candidate must meet.
        scenario: What the candidates are for; empty means home.
        context: Ids of the items that the scenarios `related` and `basket` refer to. They are no candidates.
    """

    user: RequestUser
    size: int
    channel: str = ""
    exclude: Sequence[str] = ()
    new_only: bool = False
    release: str = ""
    explain: bool = False
    conditions: Sequence[Condition] = ()
    scenario: str = ""
    context: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class CandidateList:
    """Candidates, best first.

    Attributes:
        ids: Item ids.
        scores: Falling, one for each id.
        release: The release that gave the candidates.
        new_only: Whether items of the user's history are left out, by the query or by the release.
        channels: The candidates of each channel by its name; empty if the query does not ask for it.
        unlisted: The ids that the release's catalogue does not contain.
        degraded: Names of the channels that did not answer; `RELEASE` if another release answered than the query names.
        missing: Field values that mean "missing" in the data set of the release.
        now: The time that counts as the present for the user, in milliseconds since 1970 (docs/adr/006). It has no
            meaning if the data set has no times.
        separators: Item fields that can have several values in one text, each with what is between them.
    """

    ids: Sequence[str]
    scores: Sequence[float]
    release: str
    new_only: bool = False
    channels: Mapping[str, ChannelScores] = field(default_factory=dict)
    unlisted: Sequence[str] = ()
    degraded: Sequence[str] = ()
    missing: Sequence[str] = ("",)
    now: int = 0
    separators: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ScoreQuery:
    """Items to score for a user.

    Attributes:
        user: The user of the request.
        ids: Items of the catalogue, by id.
        items: More items, by their fields.
        size: Number of items in the answer; 0 means all.
        new_only: Whether the list contains new items only. It selects the segment, not the items.
        release: The release to use if it is held; empty means the active one.
        debiased: Whether to score by how much more the user is drawn to an item than its popularity suggests
            (`RankRequest.affinity`). Such scores judge single pairs; they do not order lists.
        ordered: Whether the items are already ordered. That order is kept if the release has no ranker for the
            segment.
        explain: Whether `ScoreList.effects` is needed.
        vectors: Whether `ScoreList.vectors` is needed.
    """

    user: RequestUser
    ids: Sequence[str]
    items: Sequence[ItemInfo] = ()
    size: int = 0
    new_only: bool = False
    release: str = ""
    debiased: bool = False
    ordered: bool = False
    explain: bool = False
    vectors: bool = False


@dataclass(frozen=True, slots=True)
class ScoreList:
    """Scored items, best first; in the order of the query if it gives all items by their fields and no size.

    Attributes:
        ids: Item ids.
        scores: One for each id.
        release: The release that scored the items.
        degraded: Names of the backends that did not answer.
        effects: For each group of features how much it moved the score of each item; see
            `recmesh.features.feature_groups`. Empty if the query does not ask for it, or no ranker gave the scores.
        vectors: See `RankResponse.vectors`; empty if the query does not ask for them or the release has none.
    """

    ids: Sequence[str]
    scores: Sequence[float]
    release: str
    degraded: Sequence[str] = ()
    effects: Mapping[str, Sequence[float]] = field(default_factory=dict)
    vectors: bytes = b""


class UserStage(Protocol):
    """um: looks users up."""

    async def find(self, user_id: str, timeout: float) -> RequestUser | None:
        """The user, or None if there is no such user.

        Raises:
            RecmeshError: um did not answer within `timeout` seconds, or failed.
        """
        ...


class CandidateStage(Protocol):
    """recall: finds a few hundred candidates."""

    async def recall(self, query: CandidateQuery, timeout: float) -> CandidateList:
        """Candidates, best first.

        Raises:
            RecmeshError: recall did not answer within `timeout` seconds, or failed.
        """
        ...


class RankStage(Protocol):
    """rank: scores candidates."""

    async def rank(self, query: ScoreQuery, timeout: float) -> ScoreList:
        """The items of the query with their scores.

        Raises:
            RecmeshError: rank did not answer within `timeout` seconds, or failed.
        """
        ...


class ItemStage(Protocol):
    """cm: looks up the fields of items."""

    async def get(self, sku_ids: Sequence[str], timeout: float) -> Sequence[bytes | None]:
        """A serialized ItemInfo for each id; None for ids that do not exist.

        Raises:
            RecmeshError: cm did not answer within `timeout` seconds, or failed.
        """
        ...


class RemoteUserStage:
    """um over gRPC."""

    def __init__(self, channel: grpc.aio.Channel, target: str = "") -> None:
        """Call um on a channel; spans name its `target`."""
        self._call = _Call("um", channel, target, um_pb2.UserModelResponse.FromString)

    async def find(self, user_id: str, timeout: float) -> RequestUser | None:
        """See `UserStage.find`."""
        answer = await self._call(um_pb2.UserModelRequest(log_id=logs.log_id.get(), user_id=user_id), timeout)
        return RequestUser(answer.user_info, answer.history) if answer.error.code == OK else None


class RemoteCandidateStage:
    """recall over gRPC."""

    def __init__(self, channel: grpc.aio.Channel, target: str = "") -> None:
        """Call recall on a channel; spans name its `target`."""
        self._call = _Call("recall", channel, target, recall_pb2.RecallResponse.FromString)

    async def recall(self, query: CandidateQuery, timeout: float) -> CandidateList:
        """See `CandidateStage.recall`."""
        request = recall_pb2.RecallRequest(
            log_id=logs.log_id.get(),
            user_info=query.user.profile,
            recall_type=query.channel,
            request_num=query.size,
            history=query.user.history,
            exclude_ids=query.exclude,
            new_only=query.new_only,
            release=query.release,
            columnar=True,
            explain=query.explain,
            filter=to_message(query.conditions),
            scenario=query.scenario,
            context_ids=query.context,
        )
        answer = await self._call(request, timeout)
        if answer.error.code != OK:
            raise Unavailable(f"recall: {answer.error.text}")
        return CandidateList(
            ids=answer.candidates.ids,
            scores=answer.candidates.scores,
            release=answer.release,
            new_only=answer.new_only,
            channels={part.name: ChannelScores(part.positions, part.scores) for part in answer.channels},
            unlisted=answer.unlisted_ids,
            degraded=answer.degraded,
            missing=answer.missing,
            now=answer.now,
            separators=answer.separators,
        )


class RemoteRankStage:
    """rank over gRPC."""

    def __init__(self, channel: grpc.aio.Channel, target: str = "") -> None:
        """Call rank on a channel; spans name its `target`."""
        self._call = _Call("rank", channel, target, rank_pb2.RankResponse.FromString)

    async def rank(self, query: ScoreQuery, timeout: float) -> ScoreList:
        """See `RankStage.rank`."""
        request = rank_pb2.RankRequest(
            log_id=logs.log_id.get(),
            user_info=query.user.profile,
            item_infos=query.items,
            history=query.user.history,
            release=query.release,
            new_only=query.new_only,
            item_ids=query.ids,
            size=query.size,
            affinity=query.debiased,
            ordered=query.ordered,
            explain=query.explain,
            with_vectors=query.vectors,
        )
        answer = await self._call(request, timeout)
        if answer.error.code != OK:
            raise Unavailable(f"rank: {answer.error.text}")
        pairs = answer.score_pairs
        return ScoreList(
            ids=[pair.nid for pair in pairs],
            scores=[pair.score for pair in pairs],
            release=answer.release,
            degraded=answer.degraded,
            effects={part.group: part.effects for part in answer.features},
            vectors=answer.vectors,
        )


class _RawItems(Protocol):
    """A CMResponse whose items are serialized."""

    @property
    def item_infos(self) -> Sequence[bytes]: ...

    @property
    def missing_ids(self) -> Sequence[str]: ...


class RemoteItemStage:
    """cm over gRPC. The items of the answer stay serialized."""

    def __init__(self, channel: grpc.aio.Channel, target: str = "") -> None:
        """Call cm on a channel; spans name its `target`."""
        raw = with_raw_fields(cm_pb2.CMResponse, "item_infos")
        self._call = _Call("cm", channel, target, cast("Callable[[bytes], _RawItems]", raw.FromString))

    async def get(self, sku_ids: Sequence[str], timeout: float) -> Sequence[bytes | None]:
        """See `ItemStage.get`."""
        answer = await self._call(cm_pb2.CMRequest(log_id=logs.log_id.get(), item_ids=sku_ids), timeout)
        if not answer.missing_ids:
            return list(answer.item_infos)
        missing, found = set(answer.missing_ids), iter(answer.item_infos)
        return [None if sku_id in missing else next(found) for sku_id in sku_ids]


class _Call(Generic[R]):
    """Calls the method of one service.

    It passes the trace on, waits for another server if the last one has gone, and raises RecmeshErrors.
    """

    def __init__(
        self, service: ServiceName, channel: grpc.aio.Channel, target: str, deserialize: Callable[[bytes], R]
    ) -> None:
        self._service = service
        self._attributes = {**spans.rpc(METHOD_PATHS[service]), **spans.server(target)}
        self._reconnect_wait = ReconnectWait(channel)
        self._method: grpc.aio.UnaryUnaryMultiCallable[Message, R] = channel.unary_unary(
            METHOD_PATHS[service], request_serializer=_serialize, response_deserializer=deserialize
        )

    async def __call__(self, request: Message, timeout: float) -> R:
        deadline = Deadline(timeout)
        try:
            try:
                return await self._attempt(request, timeout)
            except grpc.aio.AioRpcError as error:
                unavailable = error.code() is grpc.StatusCode.UNAVAILABLE
                if not (unavailable and await self._reconnect_wait.reconnected(deadline.remaining())):
                    raise
            return await self._attempt(request, deadline.remaining())
        except grpc.aio.AioRpcError as error:
            raise as_recmesh_error(self._service, error) from error

    async def _attempt(self, request: Message, timeout: float) -> R:
        with tracing.call(METHOD_PATHS[self._service], self._attributes):
            metadata = (*tracing.outgoing_metadata(), *priority.outgoing_metadata())
            answer = await self._method(request, timeout=timeout, metadata=metadata)
        self._reconnect_wait.answered()
        return answer


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()
