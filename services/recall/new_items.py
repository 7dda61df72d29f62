"""Follows what has changed after the training of the active release: items that came, and items that went."""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Protocol

import numpy as np
import structlog

from recmesh.errors import RecmeshError, ReleaseError, Unavailable
from recmesh.features import Encoder
from recmesh.features.item_tower import Tower, item_vectors
from recmesh.releases import ModelStore, NewItems
from recmesh.serving import metrics
from recmesh.serving.logs import reason
from recmesh.serving.models import Vector
from recmesh.serving.warm import Releases
from recmesh.throttle import LogThrottle
from services.recall.live_items import ChangedItems, ItemReader, LiveItems

LIVE_INTERVAL_SECONDS = 0.25

log = structlog.get_logger(__name__)


class LatestNewItems:
    """The new items of one release that are known so far, and the dropped ones: by the latest ingestion and by feed.

    Attributes:
        items: The new items.
        dropped: int32, the numbers of the dropped items in the catalogue.
        withdrawn: The ids outside the catalogue that are not offered.
        unlisted: The ids outside the catalogue that are offered.
        changes: Up to which change of feed.
    """

    def __init__(self, encoder: Encoder, live: LiveItems | None = None, tower: Tower | None = None) -> None:
        """Know what feed has changed so far.

        Args:
            encoder: Of the release.
            live: What feed changes.
            tower: The item tower of the release. Without it, feed adds no items.
        """
        self._encoder = encoder
        self._live = live or LiveItems()
        self._tower = tower
        self._version = ""
        self._ingested = NewItems.none()
        # The vectors of items that feed has added, with the fields that they are made of.
        self._encoded: dict[str, tuple[Mapping[str, str], Vector]] = {}
        self.update()

    def replace(self, items: NewItems) -> None:
        """Use these items of an ingestion.

        Raises:
            ReleaseError: If their vectors do not fit those of the release.
        """
        vectors, listed = items.vectors, self._encoder.item_vectors
        if len(vectors) and listed.size and vectors.shape[1] != listed.shape[1]:
            numbers = f"their vectors have {vectors.shape[1]} numbers, the release's {listed.shape[1]}"
            raise ReleaseError(f"new items: {numbers}; run the ingestion again")
        self._ingested = items
        self.update()

    def update(self) -> None:
        """Use the latest changes of feed."""
        live, listed = self._live.latest, self._encoder.catalogue.index
        dropped = self._encoder.catalogue.encode(
            sorted((set(self._ingested.dropped) - live.offered.keys()) | live.withdrawn)
        )
        self.items, self.dropped = self._with_live(live), dropped[dropped >= 0]
        self.withdrawn = frozenset(sku_id for sku_id in live.withdrawn if sku_id not in listed)
        self.unlisted = frozenset(self.items.sku_ids) | (live.offered.keys() - listed.keys())
        self.changes = live.changes

    def _with_live(self, live: ChangedItems) -> NewItems:
        """The items of the ingestion that are still offered, and those that feed has added."""
        listed, ingested = self._encoder.catalogue.index, self._ingested
        added = {sku_id: fields for sku_id, fields in live.offered.items() if sku_id not in listed and self._tower}
        rows = [
            row for row, sku_id in enumerate(ingested.sku_ids) if sku_id not in added and sku_id not in live.withdrawn
        ]
        if not added and len(rows) == len(ingested.sku_ids):
            return ingested
        sku_ids = [*(ingested.sku_ids[row] for row in rows), *added]
        vectors = [*(ingested.vectors[row] for row in rows), *self._vectors(added)]
        return NewItems(sku_ids, np.stack(vectors)) if vectors else NewItems.none()

    def _vectors(self, added: Mapping[str, Mapping[str, str]]) -> list[Vector]:
        known = {sku_id: entry for sku_id, entry in self._encoded.items() if added.get(sku_id) == entry[0]}
        missing = {sku_id: fields for sku_id, fields in added.items() if sku_id not in known}
        if missing and self._tower:
            vectors = item_vectors(self._encoder, self._tower, missing.items())
            known |= {sku_id: (missing[sku_id], vector) for sku_id, vector in zip(missing, vectors, strict=True)}
        self._encoded = known
        return [known[sku_id][1] for sku_id in added]

    def refresh(self, store: ModelStore, release: str) -> None:
        """Read the items of a release from the store if they have changed.

        Raises:
            RecmeshError: If the store does not answer or holds damaged items.
        """
        version = store.new_items_version(release)
        if version != self._version:
            self.replace(store.new_items(release))
            self._version = version
            log.info(
                "new items are ready", release=release, items=len(self.items.sku_ids), dropped=len(self.items.dropped)
            )


class HasNewItems(Protocol):
    """A loaded release that keeps new items."""

    @property
    def new_items(self) -> LatestNewItems:
        """The new items."""
        ...


async def follow(store: ModelStore, releases: Releases[HasNewItems], interval: float) -> None:
    """Refresh the new items of the active release every `interval` seconds, until cancelled."""
    faults, failing = LogThrottle(), False
    while True:
        try:
            release_id, release = releases.get()
            await asyncio.to_thread(release.new_items.refresh, store, release_id)
            failing = False
            if line := faults.over():
                log.info("new items are loaded again", attempts=line.events, seconds=line.seconds)
        except Unavailable:
            pass  # `WarmReleases` logs when no release is ready or the store does not answer.
        except Exception as error:  # noqa: BLE001 - damaged items fail in many ways; recall goes on with what it has
            if not failing:
                metrics.RELEASE_FAILURES.labels("recall").inc()
            failing, why = True, reason(error)
            if line := faults.due(reason=why):
                log.error("new items not loaded", reason=why, attempts=line.events, seconds=line.seconds)
        await asyncio.sleep(interval)


async def follow_live(
    reader: ItemReader, live: LiveItems, releases: Releases[HasNewItems], interval: float = LIVE_INTERVAL_SECONDS
) -> None:
    """Read what feed has changed every `interval` seconds, and tell the active release, until cancelled.

    While Redis does not answer, recall goes on with what it knows.
    """
    faults = LogThrottle()
    while True:
        try:
            await live.refresh(reader)
            if line := faults.over():
                log.info("changed items are read again", attempts=line.events, seconds=line.seconds)
            with contextlib.suppress(Unavailable):  # `WarmReleases` logs when no release is ready.
                _, release = releases.get()
                if release.new_items.changes != live.latest.changes:
                    await asyncio.to_thread(release.new_items.update)
        except RecmeshError as error:
            why = reason(error)
            if line := faults.due(reason=why):
                log.warning("changed items are not read", reason=why, attempts=line.events, seconds=line.seconds)
        await asyncio.sleep(interval)
