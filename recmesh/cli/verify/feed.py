"""What feed promises. It gets nothing that it may accept, so that the data of the shop stays as it is."""

from collections.abc import Sequence

from recmesh.cli.verify.model import Checks, require, require_equal, require_ok
from recmesh.cli.verify.session import Session
from recmesh.client import (
    DELETE_USER,
    PUT_ITEMS,
    PUT_USERS,
    RECORD_ACTIONS,
    REMOVE_ITEMS,
    SET_AVAILABILITY,
    Method,
    Request,
)
from recmesh.contract import MAX_ENTRIES, MAX_REQUEST_BYTES
from recmesh.pb.feed_pb2 import (
    Action,
    DeleteUserRequest,
    FeedResponse,
    ItemUpdate,
    PutItemsRequest,
    PutUsersRequest,
    RecordActionsRequest,
    RemoveItemsRequest,
    SetAvailabilityRequest,
    UserUpdate,
)

CHECKS = Checks("feed")


async def _rejected(session: Session, method: Method[Request, FeedResponse], request: Request) -> Sequence[str]:
    """Why feed rejected the entries of a request, none of which it may accept."""
    answer = await session.call(method, request)
    require_ok(answer)
    require_equal("accepted", answer.accepted, 0)
    require_equal("positions", [entry.position for entry in answer.rejected], [*range(len(answer.rejected))])
    return [entry.reason for entry in answer.rejected]


async def _require_rejected(session: Session, method: Method[Request, FeedResponse], request: Request) -> None:
    reasons = await _rejected(session, method, request)
    require_equal("number of rejected entries", len(reasons), 1)
    require(bool(reasons[0]), "the reason is empty")


@CHECKS.add("requests without entries: nothing is accepted, nothing rejected")
async def _nothing(session: Session) -> None:
    require_equal("rejected", [*await _rejected(session, RECORD_ACTIONS, RecordActionsRequest())], [])
    require_equal("rejected", [*await _rejected(session, PUT_ITEMS, PutItemsRequest())], [])


@CHECKS.add("entries of nobody, or without an item: rejected by every method, with a reason")
async def _nobody(session: Session) -> None:
    await _require_rejected(session, RECORD_ACTIONS, RecordActionsRequest(actions=[Action(sku_id="x")]))
    await _require_rejected(session, PUT_USERS, PutUsersRequest(users=[UserUpdate(user_id="-1")]))
    await _require_rejected(session, PUT_ITEMS, PutItemsRequest(items=[ItemUpdate()]))
    await _require_rejected(session, REMOVE_ITEMS, RemoveItemsRequest(sku_ids=[""]))
    await _require_rejected(session, SET_AVAILABILITY, SetAvailabilityRequest(sku_ids=[""]))
    await _require_rejected(session, DELETE_USER, DeleteUserRequest(user_id="-1"))


CHECKS.refuses(
    f"{MAX_ENTRIES + 1:,} entries",
    REMOVE_ITEMS,
    lambda: RemoveItemsRequest(sku_ids=[""] * (MAX_ENTRIES + 1)),
    MAX_ENTRIES,
)
CHECKS.refuses(
    "a request of more than 1 MiB",
    REMOVE_ITEMS,
    lambda: RemoveItemsRequest(sku_ids=["\n" * MAX_REQUEST_BYTES]),
    MAX_REQUEST_BYTES,
)
