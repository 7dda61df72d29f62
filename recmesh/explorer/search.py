"""Search of the catalogue by text: the fields of all items, in memory."""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from recmesh.contract import MAX_LOOKED_UP
from recmesh.explorer.items import fields_of
from recmesh.serving.stages import ItemStage

MAX_INDEXED = 300_000
"""Items of a larger catalogue, after this many, are found by their id alone."""

_CM_SECONDS = 10.0


@dataclass
class ItemIndex:
    """An index that `fill` makes, and that answers with what it has so far.

    Attributes:
        total: The number of items that it will have.
        release: The release whose catalogue it has.
    """

    total: int = 0
    release: str = ""
    _texts: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        """The number of items that it has."""
        return len(self._texts)

    @property
    def is_complete(self) -> bool:
        """Whether it has all items."""
        return bool(self.release) and len(self) >= self.total

    async def fill(self, release: str, sku_ids: Sequence[str], items: ItemStage) -> None:
        """Read the fields of a release's items from cm.

        Raises:
            RecmeshError: cm does not answer.
        """
        wanted = sku_ids[:MAX_INDEXED]
        self.total, self.release, self._texts = len(wanted), release, {}
        for start in range(0, len(wanted), MAX_LOOKED_UP):
            part = wanted[start : start + MAX_LOOKED_UP]
            infos = await items.get(part, _CM_SECONDS)
            for sku_id, info in zip(part, infos, strict=True):
                self._texts[sku_id] = _text(sku_id, fields_of(info) if info else {})

    def search(self, text: str, limit: int) -> list[str]:
        """The ids of items that have all words of a text in their id or fields; those with the shortest texts first."""
        words = text.casefold().split()
        found = ((len(known), sku_id) for sku_id, known in self._texts.items() if all(word in known for word in words))
        return [sku_id for _, sku_id in heapq.nsmallest(limit, found)] if words else []


def _text(sku_id: str, fields: Mapping[str, str]) -> str:
    return " ".join((sku_id, *(f"{name}={value} {value}" for name, value in fields.items()))).casefold()
