"""Items as pages show them: fields, a title, an image."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from recmesh.contract import ITEM_FIELDS
from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.stores.wire import item_fields

_TITLES = ("title", "name", "product_name", "item_name", "description")
_IMAGE = re.compile(
    r"data:image/[a-z+]+;base64,|https?://[^\s]+\.(?:avif|gif|jpe?g|png|svg|webp)(?:\?|$)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class ShownItem:
    """An item for a page.

    Attributes:
        sku_id: Its id.
        title: Its name, if a display field gives one.
        image: A URL of its picture, if a field has one.
        fields: The other fields.
    """

    sku_id: str
    title: str
    image: str
    fields: Mapping[str, str]


def fields_of(info: bytes) -> dict[str, str]:
    """The fields of a serialized ItemInfo by name."""
    return item_fields(ItemInfo.FromString(info))


def shown(sku_id: str, fields: Mapping[str, str], model_fields: Collection[str] = ITEM_FIELDS) -> ShownItem:
    """Choose the title and the image among the fields of an item.

    Args:
        sku_id: The item.
        fields: Its fields.
        model_fields: The fields that models read. Titles and images are among the others, the display fields.
    """
    display = {name: value for name, value in fields.items() if name not in model_fields}
    image = next((name for name, value in display.items() if _IMAGE.match(value)), "")
    title = next((name for name in _TITLES if name in display), "")
    rest = {name: value for name, value in fields.items() if name not in (image, title)}
    return ShownItem(sku_id, fields.get(title, ""), fields.get(image, ""), rest)
