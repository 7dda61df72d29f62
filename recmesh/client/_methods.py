"""The five methods of the contract as values: what a caller, a retry loop or a load generator must know of each."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

from recmesh.client._targets import ServiceName
from recmesh.pb import as_pb2, cm_pb2, rank_pb2, recall_pb2, um_pb2

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)


@dataclass(frozen=True, slots=True)
class Method(Generic[Request, Response]):
    """A unary gRPC method: its service, its path and its two message types."""

    service: ServiceName
    path: str
    request: type[Request]
    response: type[Response]


UM = Method("um", "/um.UMService/um_call", um_pb2.UserModelRequest, um_pb2.UserModelResponse)
CM = Method("cm", "/cm.CMService/cm_call", cm_pb2.CMRequest, cm_pb2.CMResponse)
RECALL = Method("recall", "/recall.RecallService/recall", recall_pb2.RecallRequest, recall_pb2.RecallResponse)
RANK = Method("rank", "/RankService/rank_predict", rank_pb2.RankRequest, rank_pb2.RankResponse)
AS = Method("as", "/as.ASService/as_call", as_pb2.ASRequest, as_pb2.ASResponse)
