"""The releases that are served: the active one, and for a while the one before it."""

import asyncio

import structlog

from recmesh.errors import RecmeshError, Unavailable
from recmesh.releases import ModelStore, read_manifest, watch
from recmesh.serving import metrics
from services.rank.paddle_serving.fleet import Fleet
from services.rank.paddle_serving.settings import PaddleServingSettings
from services.rank.paddle_serving.wire import NotHeld

SERVICE = "paddle-serving"
_RETRY_AFTER, _LONGEST_RETRY = 1.0, 30.0

log = structlog.get_logger(__name__)


class ServedReleases:
    """Follows the active release: starts its pipelines beside the old ones, moves over, and stops those later."""

    def __init__(self, store: ModelStore, settings: PaddleServingSettings) -> None:
        self._store = store
        self._settings = settings
        self._fleets: dict[str, Fleet] = {}
        self._active = ""
        self._retiring: set[asyncio.Task[None]] = set()

    def get(self, release: str = "") -> Fleet:
        """The pipelines of a release, by default of the active one.

        Raises:
            NotHeld: that release is not served here.
            Unavailable: none is, yet.
        """
        if not self._active:
            raise Unavailable("no release is served yet: its pipelines start, or none is active")
        fleet = self._fleets.get(release or self._active)
        if fleet is None:
            raise NotHeld(f"release {release} is not served here, {self._active} is")
        return fleet

    async def check(self) -> None:
        """Pass while the active release can be asked; see `Health`."""
        self.get().check()

    async def follow(self) -> None:
        """Follow the active release until cancelled; then stop everything."""
        rest = _RETRY_AFTER
        try:
            while True:
                async for release in watch(self._store, self._settings.release_poll):
                    if not await self._move_to(release):
                        break  # A new watch gives the active release again, whichever it is by then.
                    rest = _RETRY_AFTER
                await asyncio.sleep(rest)
                rest = min(2 * rest, _LONGEST_RETRY)
        finally:
            for task in self._retiring:
                task.cancel()
            await asyncio.gather(*(fleet.stop() for fleet in self._fleets.values()))

    async def _move_to(self, release: str) -> bool:
        if release not in self._fleets and not await self._start(release):
            return False
        before, self._active = self._active, release
        metrics.RELEASE_ACTIVE.labels(SERVICE, release).set(1)
        metrics.RELEASE_SWITCHES.labels(SERVICE).inc()
        log.info("release is served", release=release)
        if before:
            metrics.RELEASE_ACTIVE.labels(SERVICE, before).set(0)
            task = asyncio.create_task(self._retire(before))
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)
        return True

    async def _start(self, release: str) -> bool:
        try:
            folder = await asyncio.to_thread(self._store.fetch, release, self._settings.releases)
            fleet = Fleet(read_manifest(folder), folder, self._settings)
        except RecmeshError as error:
            log.error("release is not served", release=release, reason=str(error))
            return False
        try:
            await fleet.start()
        except BaseException as error:
            await fleet.stop()
            if not isinstance(error, RecmeshError):
                raise
            log.error("release is not served", release=release, reason=str(error))
            return False
        self._fleets[release] = fleet
        return True

    async def _retire(self, release: str) -> None:
        """Stop the pipelines of a release that is no longer active, once the requests that began with it have ended."""
        await asyncio.sleep(self._settings.paddle_serving_linger)
        if release != self._active and (fleet := self._fleets.pop(release, None)):
            await fleet.stop()
            log.info("release is no longer served", release=release)
