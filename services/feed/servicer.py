"""feed on the wire."""

from collections.abc import Sized

from recmesh.contract import MAX_ENTRIES, OK
from recmesh.pb.feed_pb2 import (
    DeleteUserRequest,
    FeedResponse,
    PutItemsRequest,
    PutUsersRequest,
    RecordActionsRequest,
    Rejected,
    RemoveItemsRequest,
    SetAvailabilityRequest,
)
from recmesh.serving import deadline
from recmesh.serving.limits import check_count
from recmesh.serving.rpc import Method
from services.feed.core import FeedCore, Outcome


class FeedServicer:
    """Implements feed.FeedService. Every method raises InvalidRequest if the request has too many entries."""

    def __init__(self, core: FeedCore) -> None:
        """Answer from a core."""
        self._core = core

    @property
    def methods(self) -> dict[str, Method]:
        """The methods by their names."""
        return {
            "record_actions": self.record_actions,
            "put_users": self.put_users,
            "put_items": self.put_items,
            "remove_items": self.remove_items,
            "set_availability": self.set_availability,
            "delete_user": self.delete_user,
        }

    async def record_actions(self, request: RecordActionsRequest, _context: object) -> FeedResponse:
        """Record actions."""
        _check("actions", request.actions)
        return _response(await self._core.record_actions(request.actions, deadline.remaining()))

    async def put_users(self, request: PutUsersRequest, _context: object) -> FeedResponse:
        """Create users, or change their fields."""
        _check("users", request.users)
        return _response(await self._core.put_users(request.users, deadline.remaining()))

    async def put_items(self, request: PutItemsRequest, _context: object) -> FeedResponse:
        """Create items, or change their fields."""
        _check("items", request.items)
        return _response(await self._core.put_items(request.items, deadline.remaining()))

    async def remove_items(self, request: RemoveItemsRequest, _context: object) -> FeedResponse:
        """Remove items."""
        _check("sku_ids", request.sku_ids)
        return _response(await self._core.remove_items(request.sku_ids, deadline.remaining()))

    async def set_availability(self, request: SetAvailabilityRequest, _context: object) -> FeedResponse:
        """Take items out of all answers, or bring them back."""
        _check("sku_ids", request.sku_ids)
        outcome = await self._core.set_availability(request.sku_ids, request.available, deadline.remaining())
        return _response(outcome)

    async def delete_user(self, request: DeleteUserRequest, _context: object) -> FeedResponse:
        """Delete a user."""
        return _response(await self._core.delete_user(request.user_id, deadline.remaining()))


def _check(name: str, entries: Sized) -> None:
    check_count(name, len(entries), MAX_ENTRIES)


def _response(outcome: Outcome) -> FeedResponse:
    return FeedResponse(
        error={"code": OK},
        accepted=outcome.accepted,
        repeated_entries=outcome.repeated,
        rejected=[Rejected(position=at, reason=reason) for at, reason in outcome.rejected],
    )
