"""feed in memory, for `recmesh.client.testing`."""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from recmesh.client._model import History, Item, User
from recmesh.contract import MAX_ENTRIES, NO_USER_IDS, OK
from recmesh.errors import InvalidRequest
from recmesh.pb import feed_pb2

E = TypeVar("E")

_TYPE = "action"
"""The type of actions that name none, as in a data set without types."""


class FakeFeed:
    """Applies each entry at once to the users and items that it shares with the other fake services.

    It rejects ids that feed rejects. Without a schema, it accepts all types and fields.

    Args:
        users: The users by id; changed by entries.
        items: The items by id; changed by entries.
        now: The time of actions without one, in milliseconds since 1970-01-01 UTC.
    """

    def __init__(self, users: dict[str, User], items: dict[str, Item], now: Callable[[], int]) -> None:
        self._users = users
        self._items = items
        self._now = now
        self._events: set[tuple[str, str]] = set()
        self._hidden: set[str] = set()
        self._removed: set[str] = set()

    def offers(self, sku_id: str) -> bool:
        """Whether an item is neither removed nor unavailable."""
        return sku_id not in self._removed and sku_id not in self._hidden

    def record(self, request: feed_pb2.RecordActionsRequest) -> feed_pb2.FeedResponse:
        """Record actions."""
        return _each(
            "actions",
            request.actions,
            lambda action: _user_reason(action.user_id) or _item_reason(action.sku_id),
            self._record,
        )

    def put_users(self, request: feed_pb2.PutUsersRequest) -> feed_pb2.FeedResponse:
        """Create users, or change their fields."""
        return _each("users", request.users, lambda user: _user_reason(user.user_id), self._put_user)

    def put_items(self, request: feed_pb2.PutItemsRequest) -> feed_pb2.FeedResponse:
        """Create items, or change their fields."""
        return _each("items", request.items, lambda item: _item_reason(item.sku_id), self._put_item)

    def remove_items(self, request: feed_pb2.RemoveItemsRequest) -> feed_pb2.FeedResponse:
        """Remove items."""
        return _each("sku_ids", request.sku_ids, _item_reason, self._remove)

    def set_availability(self, request: feed_pb2.SetAvailabilityRequest) -> feed_pb2.FeedResponse:
        """Take items out of all answers, or bring them back."""
        change = self._hidden.discard if request.available else self._hidden.add
        return _each("sku_ids", request.sku_ids, _item_reason, change)

    def delete_user(self, request: feed_pb2.DeleteUserRequest) -> feed_pb2.FeedResponse:
        """Delete a user."""
        return _each("user_id", [request.user_id], _user_reason, lambda user_id: self._users.pop(user_id, None))

    def _record(self, action: feed_pb2.Action) -> bool:
        event = (action.user_id, action.event_id)
        if action.event_id and event in self._events:
            return True
        self._events.add(event)
        user = self._users.get(action.user_id, User(action.user_id))
        value = action.value if action.HasField("value") else 1.0
        added = (action.sku_id, action.time or self._now(), action.type or _TYPE, value)
        self._users[action.user_id] = User(user.user_id, user.profile, _with(user.history, added))
        return False

    def _put_user(self, update: feed_pb2.UserUpdate) -> None:
        user = self._users.get(update.user_id, User(update.user_id))
        self._users[update.user_id] = User(user.user_id, _merged(user.profile, update.fields), user.history)

    def _put_item(self, update: feed_pb2.ItemUpdate) -> None:
        before = {} if update.sku_id in self._removed else self._items.get(update.sku_id, Item(update.sku_id)).fields
        self._items[update.sku_id] = Item(update.sku_id, _merged(before, update.fields))
        self._removed.discard(update.sku_id)

    def _remove(self, sku_id: str) -> None:
        self._items.pop(sku_id, None)
        self._hidden.discard(sku_id)
        self._removed.add(sku_id)


def _each(
    name: str, entries: Iterable[E], reason: Callable[[E], str], apply: Callable[[E], object]
) -> feed_pb2.FeedResponse:
    """Apply the entries that there is no reason to reject. `apply` returns True for one that was there before."""
    given = list(entries)
    if len(given) > MAX_ENTRIES:
        raise InvalidRequest(f"feed: {name} has {len(given):,} entries: at most {MAX_ENTRIES:,}")
    reasons = [reason(entry) for entry in given]
    repeated = [apply(entry) is True for entry, said in zip(given, reasons, strict=True) if not said]
    return feed_pb2.FeedResponse(
        error={"code": OK},
        accepted=len(repeated),
        repeated_entries=sum(repeated),
        rejected=[feed_pb2.Rejected(position=k, reason=said) for k, said in enumerate(reasons) if said],
    )


def _user_reason(user_id: str) -> str:
    return 'user_id is empty or "-1", which means an anonymous user' if user_id in NO_USER_IDS else ""


def _item_reason(sku_id: str) -> str:
    return "" if sku_id else "sku_id is empty"


def _with(history: History, action: tuple[str, int, str, float]) -> History:
    """The history with another action. Equal actions count once."""
    actions = {*zip(history.sku_ids, history.times, history.types, history.values, strict=True), action}
    newest_first = sorted(actions, key=lambda each: -each[1])
    sku_ids, times, types, values = (tuple(column) for column in zip(*newest_first, strict=True))
    return History(sku_ids, times, types, values, history.older_sku_ids)


def _merged(before: Mapping[str, str], fields: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in {**before, **fields}.items() if value}
