"""What entries of the log change in stored users and items. Applying an entry twice changes nothing more.

A user is stored as a profile and a history. An item is stored in one of two places: as an item that is offered, or as a
hidden one, which is empty if the item was removed.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import NamedTuple

from recmesh.contract import DETAILED_ACTIONS, ITEM_FIELDS, USER_FIELDS
from recmesh.pb.feed_pb2 import Action
from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.pb.log_entry_pb2 import LogEntry
from recmesh.pb.user_info_pb2 import History, UserInfo
from recmesh.stores.wire import encode_history, stored_history, stored_item, stored_user

_REMOVED = b""


class Pair(NamedTuple):
    """The two values of a user or of an item; None for a value that is not stored.

    Attributes:
        first: The profile of a user, or an item that is offered.
        second: The history of a user, or an item that is hidden.
    """

    first: bytes | None
    second: bytes | None


def user_after(user_id: str, user: Pair, entries: Iterable[LogEntry]) -> Pair:
    """Return a user after entries of the log. Damaged values count as missing."""
    profile, history = user
    for change, group in groupby(entries, lambda entry: entry.WhichOneof("change")):
        if change == "action":
            history = with_actions(stored_history(history) if history else None, [entry.action for entry in group])
        elif change == "put_user":
            info = (stored_user(user_id, profile) if profile else None) or UserInfo(user_id=user_id)
            for entry in group:
                _set_fields(info, entry.put_user.fields, USER_FIELDS)
            profile = info.SerializeToString(deterministic=True)
        elif change == "delete_user":
            profile = history = None
    return Pair(profile, history)


def item_after(sku_id: str, item: Pair, entries: Iterable[LogEntry]) -> Pair:
    """Return an item after entries of the log. Damaged values count as missing."""
    offered, hidden = item
    for entry in entries:
        change = entry.WhichOneof("change")
        known = offered or hidden
        if change == "put_item":
            info = (stored_item(sku_id, known) if known else None) or ItemInfo(sku_id=sku_id)
            _set_fields(info, entry.put_item.fields, ITEM_FIELDS)
            value = info.SerializeToString(deterministic=True)
            offered, hidden = (None, value) if hidden and not offered else (value, None)
        elif change == "remove_item":
            offered, hidden = None, _REMOVED
        elif change == "hide_item" and hidden != _REMOVED:
            offered, hidden = None, known or ItemInfo(sku_id=sku_id).SerializeToString()
        elif change == "show_item" and hidden:
            offered, hidden = hidden, None
    return Pair(offered, hidden)


def with_actions(history: History | None, actions: Iterable[Action]) -> bytes:
    """Add actions to a history, each at its place in time, as `encode_history` stores it.

    An action that the history has already changes nothing: equal actions count once, as in a data set. Of actions at
    the same time, the one that was added last counts as the newest.

    Args:
        history: The history; None if there is none yet.
        actions: Actions with time, type and value.
    """
    history = history or History()
    types = [history.type_names[number] for number in history.types]
    rows = list(zip(history.sku_ids, history.times, types, history.values, strict=True))
    known, older = set(rows), set(history.older_sku_ids)
    for action in actions:
        row = (action.sku_id, action.time, action.type, action.value)
        # An older action whose item is known as an older one: it may be the same one.
        beyond = len(rows) >= DETAILED_ACTIONS and action.time < rows[DETAILED_ACTIONS - 1][1]
        if row not in known and not (beyond and action.sku_id in older):
            rows.insert(bisect_left(rows, -action.time, key=lambda other: -other[1]), row)
            known.add(row)
    sku_ids, times, kinds, values = (list(column) for column in zip(*rows, strict=True))
    return encode_history(sku_ids, times, kinds, values, history.older_sku_ids)


def _set_fields(info: UserInfo | ItemInfo, fields: Mapping[str, str], numbered: tuple[str, ...]) -> None:
    """Set fields, or remove those with an empty value."""
    for name, value in fields.items():
        if name in numbered:
            setattr(info, name, value)
        elif value:
            info.attributes[name] = value
        else:
            info.attributes.pop(name, None)
