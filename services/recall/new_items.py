"""Follows the items that an ingestion added after the active release had been trained."""

import asyncio
from typing import Protocol

import structlog

from recmesh.errors import Unavailable
from recmesh.releases import ModelStore, NewItems
from recmesh.serving import metrics
from recmesh.serving.logs import reason
from recmesh.serving.warm import Releases

log = structlog.get_logger(__name__)


class LatestNewItems:
    """The new items of one release that are known so far."""

    def __init__(self) -> None:
        """Know none."""
        self.items = NewItems.none()
        self._version = ""

    def refresh(self, store: ModelStore, release: str) -> None:
        """Read the items of a release from the store if they have changed.

        Raises:
            RecmeshError: If the store does not answer or holds damaged items.
        """
        version = store.new_items_version(release)
        if version != self._version:
            self.items, self._version = store.new_items(release), version
            log.info("new items are ready", release=release, items=len(self.items.sku_ids))


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
