"""The releases that the gateway serves: the active one, and for some time the previous one."""

import asyncio

import structlog

from recmesh.errors import Unavailable
from recmesh.releases import ModelStore, read_manifest
from recmesh.serving import following, metrics
from services.rank.paddle_serving.fleet import Fleet
from services.rank.paddle_serving.settings import PaddleServingSettings
from services.rank.paddle_serving.wire import NotHeld

SERVICE = "paddle-serving"
"""Name of the gateway in logs and metrics."""

log = structlog.get_logger(__name__)


class ServedReleases:
    """Follows the active release: starts new pipelines while the old ones still serve, switches, and stops the old."""

    def __init__(self, store: ModelStore, settings: PaddleServingSettings) -> None:
        """Serve nothing yet; `follow` starts the pipelines.

        Args:
            store: Holds the releases.
            settings: Of the gateway.
        """
        self._store = store
        self._settings = settings
        self._fleets: dict[str, Fleet] = {}
        self._active = ""
        self._retiring: set[asyncio.Task[None]] = set()

    def get(self, release: str = "") -> Fleet:
        """The pipelines of a release; of the active one if `release` is empty.

        Raises:
            NotHeld: The release is not served.
            Unavailable: No release is served yet.
        """
        if not self._active:
            raise Unavailable("no release is served yet: its pipelines are starting, or no release is active")
        fleet = self._fleets.get(release or self._active)
        if fleet is None:
            raise NotHeld(f"release {release} is not served here; the active release is {self._active}")
        return fleet

    async def check(self) -> None:
        """Pass while the active release can be called: a `recmesh.serving.health.Check`."""
        self.get().check()

    async def follow(self) -> None:
        """Follow the active release until cancelled; then stop all pipelines."""
        try:
            await following.follow(SERVICE, self._store, self._settings.release_poll, self._switch_to)
        finally:
            for task in self._retiring:
                task.cancel()
            await asyncio.gather(*(fleet.stop() for fleet in self._fleets.values()))

    async def _switch_to(self, release: str) -> None:
        if release not in self._fleets and (await asyncio.to_thread(self._store.manifest, release)).starter:
            log.info("a starter has no ranker: waiting for a trained release", release=release)
            return
        if release not in self._fleets:
            self._fleets[release] = await self._started(release)
        previous, self._active = self._active, release
        metrics.RELEASE_ACTIVE.labels(SERVICE, release).set(1)
        metrics.RELEASE_SWITCHES.labels(SERVICE).inc()
        log.info("release is served", release=release)
        if previous:
            metrics.RELEASE_ACTIVE.labels(SERVICE, previous).set(0)
            task = asyncio.create_task(self._retire(previous))
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)

    async def _started(self, release: str) -> Fleet:
        folder = await asyncio.to_thread(self._store.fetch, release, self._settings.releases)
        fleet = Fleet(read_manifest(folder), folder, self._settings)
        try:
            await fleet.start()
        except BaseException:
            await fleet.stop()
            raise
        return fleet

    async def _retire(self, release: str) -> None:
        """Stop the pipelines of a release that is no longer active, after the requests that use it have ended."""
        await asyncio.sleep(self._settings.paddle_serving_linger)
        if release != self._active and (fleet := self._fleets.pop(release, None)):
            await fleet.stop()
            log.info("release is no longer served", release=release)
