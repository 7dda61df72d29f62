"""Conversion between rows of a data set and the protobuf messages that Redis stores and the services pass on.

Fields of the v0 contract have fields of their own in UserInfo and ItemInfo. All other fields are in `attributes`. Null
values are omitted.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from recmesh.contract import DETAILED_ACTIONS, ITEM_FIELDS, USER_FIELDS
from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.pb.user_info_pb2 import History, UserInfo

Row = Sequence[str | None]
M = TypeVar("M", bound=Message)


def user_encoder(fields: Sequence[str]) -> Callable[[Row], bytes]:
    """Return a function that turns a row (user_id, then the values of `fields`) into a serialized UserInfo."""
    return _encoder(UserInfo, "user_id", fields, USER_FIELDS)


def item_encoder(fields: Sequence[str]) -> Callable[[Row], bytes]:
    """Return a function that turns a row (sku_id, then the values of `fields`) into a serialized ItemInfo."""
    return _encoder(ItemInfo, "sku_id", fields, ITEM_FIELDS)


def user_fields(info: UserInfo) -> dict[str, str]:
    """Return the fields of a user by name, without the id and without empty fields of the v0 contract."""
    return _fields(info, USER_FIELDS)


def item_fields(info: ItemInfo) -> dict[str, str]:
    """Return the fields of an item by name, without the id and without empty fields of the v0 contract."""
    return _fields(info, ITEM_FIELDS)


def stored_user(user_id: str, value: bytes) -> UserInfo | None:
    """Parse the stored UserInfo of a user. Returns None if the value is none."""
    info = _parsed(UserInfo(), value)
    return info if info is not None and info.user_id == user_id else None


def stored_item(sku_id: str, value: bytes) -> ItemInfo | None:
    """Parse the stored ItemInfo of an item. Returns None if the value is none."""
    info = _parsed(ItemInfo(), value)
    return info if info is not None and info.sku_id == sku_id else None


def stored_history(value: bytes) -> History | None:
    """Parse a stored History. Returns None if the value is none, or if its columns do not fit each other."""
    history = _parsed(History(), value)
    if history is None or not history.sku_ids:
        return None
    lengths = {len(history.sku_ids), len(history.times), len(history.types), len(history.values)}
    return history if len(lengths) == 1 and max(history.types) < len(history.type_names) else None


def encode_history(
    sku_ids: Sequence[str],
    times: Sequence[int],
    types: Sequence[str],
    values: Sequence[float],
    older_sku_ids: Sequence[str] = (),
) -> bytes:
    """Serialize the actions of a user as a History.

    The newest `DETAILED_ACTIONS` are stored in detail. Of older actions, only the ids of further items are stored.

    Args:
        sku_ids: The items, newest action first.
        times: The times, milliseconds UTC.
        types: The names of the action types.
        values: The values.
        older_sku_ids: The items of still older actions.
    """
    detailed = list(sku_ids[:DETAILED_ACTIONS])
    kinds = list(dict.fromkeys(types[:DETAILED_ACTIONS]))
    number = {kind: position for position, kind in enumerate(kinds)}
    known = set(detailed)
    history = History(
        sku_ids=detailed,
        times=times[:DETAILED_ACTIONS],
        types=[number[kind] for kind in types[:DETAILED_ACTIONS]],
        values=values[:DETAILED_ACTIONS],
        type_names=kinds,
        older_sku_ids=[sku for sku in dict.fromkeys([*sku_ids[DETAILED_ACTIONS:], *older_sku_ids]) if sku not in known],
    )
    return history.SerializeToString()


def _parsed(message: M, value: bytes) -> M | None:
    try:
        message.ParseFromString(value)
    except DecodeError:
        return None
    return message


def _encoder(
    message: type[UserInfo] | type[ItemInfo], id_field: str, fields: Sequence[str], numbered: Sequence[str]
) -> Callable[[Row], bytes]:
    plain = [(position, name) for position, name in enumerate(fields, start=1) if name in numbered]
    others = [(position, name) for position, name in enumerate(fields, start=1) if name not in numbered]

    def encode(row: Row) -> bytes:
        attributes = {name: value for position, name in others if (value := row[position]) is not None}
        info = message(attributes=attributes)
        setattr(info, id_field, row[0])
        for position, name in plain:
            if (value := row[position]) is not None:
                setattr(info, name, value)
        # `attributes` is a map, whose order is not defined otherwise; the same data must give the same bytes.
        return info.SerializeToString(deterministic=True)

    return encode


def _fields(info: UserInfo | ItemInfo, numbered: Sequence[str]) -> dict[str, str]:
    attributes: Mapping[str, str] = info.attributes
    plain = {name: value for name in numbered if (value := getattr(info, name))}
    return {**attributes, **plain}
