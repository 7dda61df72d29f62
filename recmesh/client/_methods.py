"""The methods of the contract as values."""

from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from recmesh.contract import METHOD_PATHS, OK, ServiceName
from recmesh.errors import AnswerFailed
from recmesh.pb import as_pb2, cm_pb2, feed_pb2, rank_pb2, recall_pb2, um_pb2

AnyRequest: TypeAlias = (
    um_pb2.UserModelRequest
    | cm_pb2.CMRequest
    | recall_pb2.RecallRequest
    | rank_pb2.RankRequest
    | as_pb2.ASRequest
    | feed_pb2.RecordActionsRequest
    | feed_pb2.PutUsersRequest
    | feed_pb2.PutItemsRequest
    | feed_pb2.RemoveItemsRequest
    | feed_pb2.SetAvailabilityRequest
    | feed_pb2.DeleteUserRequest
)
AnyResponse: TypeAlias = (
    um_pb2.UserModelResponse
    | cm_pb2.CMResponse
    | recall_pb2.RecallResponse
    | rank_pb2.RankResponse
    | as_pb2.ASResponse
    | feed_pb2.FeedResponse
)
Request = TypeVar("Request", bound=AnyRequest)
"""The type of a method's requests, for functions that take any `Method`."""

Response = TypeVar("Response", bound=AnyResponse)
"""The type of a method's responses, for functions that take any `Method`."""


@dataclass(frozen=True, slots=True)
class Method(Generic[Request, Response]):
    """A unary gRPC method.

    Attributes:
        service: The service that has it.
        path: Its path, `/package.Service/method`.
        request: The class of its requests.
        response: The class of its responses.

    Example:
        >>> UM.path
        '/um.UMService/um_call'
    """

    service: ServiceName
    path: str
    request: type[Request]
    response: type[Response]


UM = Method("um", METHOD_PATHS["um"], um_pb2.UserModelRequest, um_pb2.UserModelResponse)
CM = Method("cm", METHOD_PATHS["cm"], cm_pb2.CMRequest, cm_pb2.CMResponse)
RECALL = Method("recall", METHOD_PATHS["recall"], recall_pb2.RecallRequest, recall_pb2.RecallResponse)
RANK = Method("rank", METHOD_PATHS["rank"], rank_pb2.RankRequest, rank_pb2.RankResponse)
AS = Method("as", METHOD_PATHS["as"], as_pb2.ASRequest, as_pb2.ASResponse)

RECORD_ACTIONS = Method("feed", METHOD_PATHS["record_actions"], feed_pb2.RecordActionsRequest, feed_pb2.FeedResponse)
PUT_USERS = Method("feed", METHOD_PATHS["put_users"], feed_pb2.PutUsersRequest, feed_pb2.FeedResponse)
PUT_ITEMS = Method("feed", METHOD_PATHS["put_items"], feed_pb2.PutItemsRequest, feed_pb2.FeedResponse)
REMOVE_ITEMS = Method("feed", METHOD_PATHS["remove_items"], feed_pb2.RemoveItemsRequest, feed_pb2.FeedResponse)
SET_AVAILABILITY = Method(
    "feed", METHOD_PATHS["set_availability"], feed_pb2.SetAvailabilityRequest, feed_pb2.FeedResponse
)
DELETE_USER = Method("feed", METHOD_PATHS["delete_user"], feed_pb2.DeleteUserRequest, feed_pb2.FeedResponse)


def check_answer(method: Method[Request, Response], response: Response) -> None:
    """Check the error code of a response that `Mesh.call` returned.

    Args:
        method: The method that was called.
        response: Its response.

    Raises:
        AnswerFailed: `error.code` is not 200.

    Example:
        >>> check_answer(UM, um_pb2.UserModelResponse(error={"code": 200}))
    """
    if response.error.code != OK:
        text = " ".join(response.error.text.split())
        raise AnswerFailed(f"{method.service} answered {response.error.code}: {text}")
