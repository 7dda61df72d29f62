"""Follows what an ingestion changed after the training of the active release: items that came, and that went."""

import asyncio
from typing import Protocol

import structlog

from recmesh.errors import ReleaseError, Unavailable
from recmesh.features import Encoder
from recmesh.releases import ModelStore, NewItems
from recmesh.serving import metrics
from recmesh.serving.logs import reason
from recmesh.serving.warm import Releases

log = structlog.get_logger(__name__)


class LatestNewItems:
    """The new items of one release that are known so far, and the dropped ones.

    Attributes:
        items: The new items.
        dropped: int32, the numbers of the dropped items in the catalogue.
    """

    def __init__(self, encoder: Encoder) -> None:
        """Know none. The encoder is that of the release."""
        self._encoder = encoder
        self._version = ""
        self.replace(NewItems.none())

    def replace(self, items: NewItems) -> None:
        """Use these items.

        Raises:
            ReleaseError: If their vectors do not fit those of the release.
        """
        vectors, listed = items.vectors, self._encoder.item_vectors
        if len(vectors) and listed.size and vectors.shape[1] != listed.shape[1]:
            numbers = f"their vectors have {vectors.shape[1]} numbers, the release's {listed.shape[1]}"
            raise ReleaseError(f"new items: {numbers}; run the ingestion again")
        dropped = self._encoder.catalogue.encode(items.dropped)
        self.items, self.dropped = items, dropped[dropped >= 0]

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
    failing = False
    while True:
        try:
            release_id, release = releases.get()
            await asyncio.to_thread(release.new_items.refresh, store, release_id)
            failing = False
        except Unavailable:
            pass  # `WarmReleases` logs when no release is ready or the store does not answer.
        except Exception as error:  # noqa: BLE001 - damaged items fail in many ways; recall goes on with what it has
            if not failing:
                metrics.RELEASE_FAILURES.labels("recall").inc()
                log.error("new items not loaded", reason=reason(error))
            failing = True
        await asyncio.sleep(interval)
