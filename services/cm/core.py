"""Looks items up, independently of the transport."""

from collections.abc import Sequence
from typing import Protocol

from recmesh.serving import metrics
from recmesh.serving.deadline import within
from recmesh.serving.store_calls import StoreCalls
from recmesh.stores.wire import stored_item

_CALLS = StoreCalls("redis", "items")


class ItemReader(Protocol):
    """Reads stored items."""

    async def get_items(self, sku_ids: Sequence[str]) -> list[bytes | None]:
        """A serialized ItemInfo for each id; None for ids that are not stored."""
        ...


class CmCore:
    """Looks items up: the local `ItemStage`."""

    def __init__(self, reader: ItemReader) -> None:
        """Read items from `reader`."""
        self._reader = reader

    async def get(self, sku_ids: Sequence[str], timeout: float) -> list[bytes | None]:
        """See `recmesh.serving.stages.ItemStage`. A damaged item is left out as if it did not exist."""
        metrics.LOOKED_UP_ITEMS.observe(len(sku_ids))
        with _CALLS.measured():
            values = await within(timeout, "Redis", self._reader.get_items(sku_ids))
        return [_intact(sku_id, value) for sku_id, value in zip(sku_ids, values, strict=True)]


def _intact(sku_id: str, value: bytes | None) -> bytes | None:
    """The value, or None if it is not that of the item."""
    if value is None or stored_item(sku_id, value):
        return value
    metrics.DAMAGED_VALUES.labels("item").inc()
    return None
