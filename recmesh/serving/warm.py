"""The releases that a service holds ready: the active one, and the one before it for requests that began with it."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from recmesh.errors import RecmeshError, Unavailable
from recmesh.releases import Manifest, ModelStore, read_manifest, watch
from recmesh.serving import metrics

T = TypeVar("T")

_RETRY_AFTER = 1.0

log = structlog.get_logger(__name__)


class WarmReleases(Generic[T]):
    """Follows the active release: loads and warms the new one beside the old one, then swaps.

    Args:
        service: name in logs and metrics.
        store: where the releases are.
        folder: where their files are fetched to.
        load: makes a release ready to answer at full speed, in a thread.
        ready: waits until what a loaded release needs of others is there as well.
    """

    def __init__(
        self,
        service: str,
        store: ModelStore,
        folder: Path,
        load: Callable[[Path, Manifest], T],
        ready: Callable[[T], Awaitable[None]] | None = None,
    ) -> None:
        self._service = service
        self._store = store
        self._folder = folder
        self._load = load
        self._wait_until_ready = ready
        self._ready: dict[str, T] = {}
        self._active = ""

    def get(self, release: str = "") -> tuple[str, T]:
        """A release that is ready: the asked-for one if it is held, else the active one.

        Raises:
            Unavailable: none is ready.
        """
        chosen = release if release in self._ready else self._active
        if not chosen:
            raise Unavailable(f"{self._service}: no release is ready yet: it is being loaded, or none is active")
        return chosen, self._ready[chosen]

    async def check(self) -> None:
        """Pass once a release is ready; see `Health`."""
        self.get()

    async def follow(self, interval: float) -> None:
        """Follow the active release for ever, looking at it each `interval` seconds."""
        while True:
            async for release in watch(self._store, interval):
                if not await self._switch_to(release):
                    break  # A new watch gives the active release again, whichever it is by then.
            await asyncio.sleep(_RETRY_AFTER)

    async def _switch_to(self, release: str) -> bool:
        if release == self._active:
            return True
        try:
            loaded = self._ready[release] if release in self._ready else await asyncio.to_thread(self._fetch, release)
            if self._wait_until_ready:
                await self._wait_until_ready(loaded)
        except RecmeshError as error:
            log.error("release not loaded", service=self._service, release=release, reason=str(error))
            return False
        previous = {self._active: self._ready[self._active]} if self._active else {}
        self._ready = {**previous, release: loaded}
        for held in previous:
            metrics.RELEASE_ACTIVE.labels(self._service, held).set(0)
        self._active = release
        metrics.RELEASE_ACTIVE.labels(self._service, release).set(1)
        metrics.RELEASE_SWITCHES.labels(self._service).inc()
        log.info("release is ready", service=self._service, release=release)
        return True

    def _fetch(self, release: str) -> T:
        folder = self._store.fetch(release, self._folder)
        return self._load(folder, read_manifest(folder))
