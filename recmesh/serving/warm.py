"""The releases that a service holds in memory: the active one, and the previous one for requests that still use it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import structlog

from recmesh.errors import Unavailable
from recmesh.releases import Manifest, ModelStore, read_manifest
from recmesh.serving import following, metrics, release_facts

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

log = structlog.get_logger(__name__)


class Releases(Protocol[T_co]):
    """The releases that are loaded and warmed up."""

    def get(self, release: str = "") -> tuple[str, T_co]:
        """The id and the loaded form of a release: of `release` if it is held, else of the active one.

        Raises:
            Unavailable: No release is ready.
        """
        ...


@dataclass(frozen=True)
class _Held(Generic[T]):
    """A release in memory."""

    manifest: Manifest
    loaded: T


class WarmReleases(Generic[T]):
    """Follows the active release: loads and warms up a new one while the old one still serves, then switches."""

    def __init__(
        self,
        service: str,
        store: ModelStore,
        folder: Path,
        load: Callable[[Path, Manifest], T],
        ready: Callable[[T], Awaitable[None]] | None = None,
        switched: Callable[[T], None] | None = None,
    ) -> None:
        """Hold no release yet; `follow` loads them.

        Args:
            service: Name in logs and metrics.
            store: Holds the releases.
            folder: Releases are downloaded into it.
            load: Loads a release and warms it up. Runs in a thread.
            ready: Waits until the dependencies of a loaded release are ready.
            switched: Called with the release that new requests use from now on.
        """
        self._service = service
        self._store = store
        self._folder = folder
        self._load = load
        self._wait_until_ready = ready
        self._switched = switched
        self._held: dict[str, _Held[T]] = {}
        self._active = ""

    def get(self, release: str = "") -> tuple[str, T]:
        """See `Releases.get`."""
        chosen = release if release in self._held else self._active
        if not chosen:
            raise Unavailable(f"{self._service}: no release is ready yet: it is being loaded, or none is active")
        return chosen, self._held[chosen].loaded

    async def check(self) -> None:
        """Pass once a release is ready: a `recmesh.serving.health.Check`."""
        self.get()

    async def follow(self, interval: float) -> None:
        """Follow the active release until cancelled, and check it every `interval` seconds."""
        await following.follow(self._service, self._store, interval, self._switch_to)

    async def _switch_to(self, release: str) -> None:
        new = self._held[release] if release in self._held else await asyncio.to_thread(self._fetch, release)
        if self._wait_until_ready:
            await self._wait_until_ready(new.loaded)
        previous = {self._active: self._held[self._active]} if self._active else {}
        self._held = {**previous, release: new}
        for held in previous:
            metrics.RELEASE_ACTIVE.labels(self._service, held).set(0)
        self._active = release
        metrics.RELEASE_ACTIVE.labels(self._service, release).set(1)
        metrics.RELEASE_SWITCHES.labels(self._service).inc()
        release_facts.export(new.manifest)
        if self._switched:
            self._switched(new.loaded)
        log.info("release is ready", service=self._service, release=release)

    def _fetch(self, release: str) -> "_Held[T]":
        folder = self._store.fetch(release, self._folder)
        manifest = read_manifest(folder)
        return _Held(manifest, self._load(folder, manifest))
