"""Typed calls to the gRPC methods, for tests: the generated stubs have no type information."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import grpc
from google.protobuf.message import Message

from recmesh.contract import METHOD_PATHS
from recmesh.pb.as_pb2 import ASRequest, ASResponse
from recmesh.pb.cm_pb2 import CMRequest, CMResponse
from recmesh.pb.feed_pb2 import (
    DeleteUserRequest,
    FeedResponse,
    PutItemsRequest,
    PutUsersRequest,
    RecordActionsRequest,
    RemoveItemsRequest,
    SetAvailabilityRequest,
)
from recmesh.pb.rank_pb2 import RankRequest, RankResponse
from recmesh.pb.recall_pb2 import RecallRequest, RecallResponse
from recmesh.pb.um_pb2 import UserModelRequest, UserModelResponse

Q = TypeVar("Q", bound=Message)
R = TypeVar("R", bound=Message)


@dataclass(frozen=True)
class Method(Generic[Q, R]):
    """A unary method: its path, and the types of its request and its response."""

    path: str
    request: type[Q]
    response: type[R]

    def on(self, channel: grpc.Channel) -> "grpc.UnaryUnaryMultiCallable[Q, R]":
        """The method on a synchronous channel."""
        return channel.unary_unary(
            self.path,
            request_serializer=self.request.SerializeToString,
            response_deserializer=self.response.FromString,
        )

    def on_aio(self, channel: grpc.aio.Channel) -> "grpc.aio.UnaryUnaryMultiCallable[Q, R]":
        """The method on an asyncio channel."""
        return channel.unary_unary(
            self.path,
            request_serializer=self.request.SerializeToString,
            response_deserializer=self.response.FromString,
        )

    def call(self, target: str, request: Q, timeout: float = 10.0, metadata: Sequence[tuple[str, str]] = ()) -> R:
        """One call on a channel of its own. The timeout is generous, because tests share two cores."""
        with grpc.insecure_channel(target) as channel:
            return self.on(channel)(request, timeout=timeout, metadata=tuple(metadata))


UM = Method(METHOD_PATHS["um"], UserModelRequest, UserModelResponse)
CM = Method(METHOD_PATHS["cm"], CMRequest, CMResponse)
RECALL = Method(METHOD_PATHS["recall"], RecallRequest, RecallResponse)
RANK = Method(METHOD_PATHS["rank"], RankRequest, RankResponse)
AS = Method(METHOD_PATHS["as"], ASRequest, ASResponse)

RECORD_ACTIONS = Method(METHOD_PATHS["record_actions"], RecordActionsRequest, FeedResponse)
PUT_USERS = Method(METHOD_PATHS["put_users"], PutUsersRequest, FeedResponse)
PUT_ITEMS = Method(METHOD_PATHS["put_items"], PutItemsRequest, FeedResponse)
REMOVE_ITEMS = Method(METHOD_PATHS["remove_items"], RemoveItemsRequest, FeedResponse)
SET_AVAILABILITY = Method(METHOD_PATHS["set_availability"], SetAvailabilityRequest, FeedResponse)
DELETE_USER = Method(METHOD_PATHS["delete_user"], DeleteUserRequest, FeedResponse)
