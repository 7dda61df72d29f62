"""Rows of a data set as the protobuf messages that Redis keeps and the services pass on, and back.

Fields that UserInfo and ItemInfo have by name keep their numbers; every other field travels in `attributes`. A null
value is left out.
"""

from collections.abc import Callable, Mapping, Sequence

from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.pb.user_info_pb2 import History, UserInfo

# As in recmesh.dataset.schema, whose import would cost the services Polars.
USER_WIRE_FIELDS = ("age", "sex", "city_level", "province", "city", "country")
ITEM_WIRE_FIELDS = ("brand", "shopid", "cate")

DETAILED_ACTIONS = 500
"""A history keeps this many of the newest actions in detail."""

Row = Sequence[str | None]


def user_encoder(fields: Sequence[str]) -> Callable[[Row], bytes]:
    """An encoder of rows (user_id, then the values of `fields`) to serialized UserInfo."""
    return _encoder(UserInfo, "user_id", fields, USER_WIRE_FIELDS)


def item_encoder(fields: Sequence[str]) -> Callable[[Row], bytes]:
    """An encoder of rows (sku_id, then the values of `fields`) to serialized ItemInfo."""
    return _encoder(ItemInfo, "sku_id", fields, ITEM_WIRE_FIELDS)


def user_fields(info: UserInfo) -> dict[str, str]:
    """The profile that a UserInfo carries: field name to value, without the empty ones and without the id."""
    return _fields(info, USER_WIRE_FIELDS)


def item_fields(info: ItemInfo) -> dict[str, str]:
    """The fields that an ItemInfo carries: field name to value, without the empty ones and without the id."""
    return _fields(info, ITEM_WIRE_FIELDS)


def encode_history(
    sku_ids: Sequence[str], times: Sequence[int], types: Sequence[str], values: Sequence[float]
) -> bytes:
    """Serialized History of a user's actions: newest first, entry k of each column is action k, times in ms UTC.

    The newest `DETAILED_ACTIONS` stay in detail; of older ones only the ids that those do not have, each once.
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
        older_sku_ids=[sku for sku in dict.fromkeys(sku_ids[DETAILED_ACTIONS:]) if sku not in known],
    )
    return history.SerializeToString()


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
        # Deterministic: a map has no order of its own, and the same data must give the same bytes.
        return info.SerializeToString(deterministic=True)

    return encode


def _fields(info: UserInfo | ItemInfo, numbered: Sequence[str]) -> dict[str, str]:
    attributes: Mapping[str, str] = info.attributes
    plain = {name: value for name in numbered if (value := getattr(info, name))}
    return {**attributes, **plain}
