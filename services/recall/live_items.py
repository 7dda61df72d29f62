"""The items that feed has changed: those that are offered now, and those that are not."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Protocol

from recmesh.serving import metrics
from recmesh.stores.wire import item_fields, stored_item

_COUNT = 2_000


class ItemReader(Protocol):
    """Reads items: see `recmesh.stores.redis.RedisReader`."""

    async def changed_items(self, after: int, count: int) -> list[tuple[str, int]]:
        """Ids of changed items, each with the number of its latest change."""
        ...

    async def get_items(self, sku_ids: Sequence[str]) -> list[bytes | None]:
        """Serialized items; None for those that are not offered."""
        ...


@dataclass(frozen=True)
class ChangedItems:
    """The changed items at some time.

    Attributes:
        offered: The fields of those that are offered.
        withdrawn: Those that are not: they are hidden, or were removed.
        changes: The number of the latest change.
    """

    offered: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    withdrawn: AbstractSet[str] = frozenset()
    changes: int = 0


class LiveItems:
    """Keeps the changed items, which all releases of a process share.

    Attributes:
        latest: As they were read last. It is replaced as a whole, since releases are loaded in threads.
    """

    def __init__(self) -> None:
        """Know no changes yet."""
        self.latest = ChangedItems()

    async def refresh(self, reader: ItemReader) -> None:
        """Read further changes.

        Raises:
            RecmeshError: Redis does not answer.
        """
        while changed := await reader.changed_items(self.latest.changes, _COUNT):
            sku_ids = [sku_id for sku_id, _ in changed]
            values = await reader.get_items(sku_ids)
            self.latest = _after(self.latest, dict(zip(sku_ids, values, strict=True)), changed[-1][1])
        metrics.LIVE_ITEMS.labels("offered").set(len(self.latest.offered))
        metrics.LIVE_ITEMS.labels("withdrawn").set(len(self.latest.withdrawn))


def _after(before: ChangedItems, values: Mapping[str, bytes | None], changes: int) -> ChangedItems:
    infos = {sku_id: stored_item(sku_id, value) if value is not None else None for sku_id, value in values.items()}
    kept = {sku_id: fields for sku_id, fields in before.offered.items() if sku_id not in infos}
    offered = {sku_id: item_fields(info) for sku_id, info in infos.items() if info is not None}
    return ChangedItems({**kept, **offered}, (before.withdrawn | infos.keys()) - offered.keys(), changes)
