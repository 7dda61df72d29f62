"""Keeps the fields of all items, for filters: as Redis has them, and thus as cm shows them."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Protocol

import structlog

from recmesh.conditions import Condition
from recmesh.errors import RecmeshError, Unavailable
from recmesh.features import Encoder
from recmesh.features.spec import Mask
from recmesh.retrieval.item_table import ItemTable, separators
from recmesh.serving.logs import reason
from recmesh.serving.warm import Releases
from recmesh.stores.wire import item_fields, stored_item
from recmesh.throttle import LogThrottle
from services.recall.live_items import ItemReader
from services.recall.new_items import LIVE_INTERVAL_SECONDS, LatestNewItems

# A batch takes about 3 ms of the event loop.
_BATCH = 250

log = structlog.get_logger(__name__)


class FieldReader(ItemReader, Protocol):
    """Reads items, and what ingestions did: see `recmesh.stores.redis.RedisReader`."""

    async def latest_ingestion(self) -> dict[str, float]:
        """What the latest ingestion did."""
        ...


class ItemFields:
    """The fields of the items that one release can recall.

    Attributes:
        separators: For each field of kind `multi` what is between its values.
    """

    def __init__(self, encoder: Encoder, new_items: LatestNewItems) -> None:
        """Know no fields yet; `refresh` reads them.

        Args:
            encoder: Of the release.
            new_items: The items that came after the training of the release.
        """
        self.separators = separators(encoder.spec.item_fields)
        self._encoder = encoder
        self._new_items = new_items
        self._table: ItemTable | None = None
        self._ingestion: Mapping[str, float] = {}
        self._changes = 0
        self._ingested: Sequence[str] = ()

    def select(self, conditions: Sequence[Condition]) -> "Selection":
        """Return the items that meet all conditions.

        Raises:
            InvalidRequest: A field is unknown.
            Unavailable: The fields are not read yet.
        """
        if self._table is None:
            raise Unavailable("recall: the fields of the items are not read yet: Redis does not answer or is empty")
        return Selection(self._table, self._table.mask(conditions), len(self._encoder.catalogue))

    async def refresh(self, reader: FieldReader) -> None:
        """Read everything at first and after each ingestion, otherwise what has changed.

        Raises:
            RecmeshError: Redis does not answer, or has lost its data. What was read before stays.
        """
        ingestion = await reader.latest_ingestion()
        if not ingestion:
            raise Unavailable("Redis has no data set: the first ingestion has not ended, or Redis has lost its data")
        if self._table is None or self._table.crowded or ingestion != self._ingestion:
            table = ItemTable(self._encoder.catalogue, self._encoder.spec.item_fields, self._encoder.spec.missing)
            sku_ids = self._encoder.catalogue.sku_ids
            for start in range(0, len(sku_ids), _BATCH):
                await _read(table, reader, sku_ids[start : start + _BATCH])
                if self._table is not None:
                    await self._follow(self._table, reader)
            self._table, self._ingestion, self._changes, self._ingested = table, ingestion, 0, ()
        await self._follow(self._table, reader)

    async def _follow(self, table: ItemTable, reader: FieldReader) -> None:
        """Read the items that have changed, and those that an ingestion has added."""
        ingested = self._new_items.items.sku_ids
        if ingested is not self._ingested:
            added = [sku_id for sku_id in ingested if table.row(sku_id) is None]
            for start in range(0, len(added), _BATCH):
                await _read(table, reader, added[start : start + _BATCH])
            self._ingested = ingested
        while changed := await reader.changed_items(self._changes, _BATCH):
            await _read(table, reader, [sku_id for sku_id, _ in changed])
            self._changes = changed[-1][1]


class Selection:
    """The items that a filter lets pass.

    Attributes:
        allowed: For each item of the catalogue whether it passes.
        count: How many of them do.
    """

    def __init__(self, table: ItemTable, mask: Mask, listed: int) -> None:
        """Keep the mask of a table whose first `listed` rows are the items of the catalogue."""
        self._table = table
        self._mask = mask
        self.allowed = mask[:listed]
        self.count = int(self.allowed.sum())

    def __contains__(self, sku_id: str) -> bool:
        """Whether an item, of the catalogue or not, passes."""
        row = self._table.row(sku_id)
        # An item that came after the filter was applied has a higher row.
        return row is not None and row < len(self._mask) and bool(self._mask[row])


async def _read(table: ItemTable, reader: FieldReader, sku_ids: Sequence[str]) -> None:
    values = await reader.get_items(sku_ids)
    infos = {
        sku_id: stored_item(sku_id, value) if value is not None else None
        for sku_id, value in zip(sku_ids, values, strict=True)
    }
    table.put({sku_id: item_fields(info) if info is not None else None for sku_id, info in infos.items()})


async def try_refresh(fields: ItemFields, reader: FieldReader, faults: LogThrottle) -> None:
    """Refresh fields. If Redis does not answer, they stay, and the log says why as often as `faults` lets it."""
    try:
        await fields.refresh(reader)
        if line := faults.over():
            log.info("fields of items are read again", attempts=line.events, seconds=line.seconds)
    except RecmeshError as error:
        why = reason(error)
        if line := faults.due(reason=why):
            log.warning("fields of items are not read", reason=why, attempts=line.events, seconds=line.seconds)


class HasItemFields(Protocol):
    """A loaded release that keeps the fields of items."""

    @property
    def item_fields(self) -> ItemFields:
        """The fields."""
        ...


async def follow(
    reader: FieldReader,
    releases: Releases[HasItemFields],
    faults: LogThrottle,
    interval: float = LIVE_INTERVAL_SECONDS,
) -> None:
    """Refresh the fields of the active release every `interval` seconds, until cancelled."""
    while True:
        with contextlib.suppress(Unavailable):  # `WarmReleases` logs when no release is ready.
            _, release = releases.get()
            await try_refresh(release.item_fields, reader, faults)
        await asyncio.sleep(interval)
