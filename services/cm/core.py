"""Looks items up, independently of the transport."""

from collections.abc import Sequence
from typing import Protocol

from recmesh.serving.deadline import within


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
        """See `recmesh.serving.stages.ItemStage`."""
        return await within(timeout, "Redis", self._reader.get_items(sku_ids))
