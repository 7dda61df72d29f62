"""The releases that the gateway serves: the active one, and for some time the previous one."""

import asyncio

import structlog

from recmesh.errors import RecmeshError, Unavailable
from recmesh.releases import ModelStore, read_manifest, watch
from recmesh.serving import metrics
from services.rank.paddle_serving.fleet import Fleet
from services.rank.paddle_serving.settings import PaddleServingSettings
from services.rank.paddle_serving.wire import NotHeld

SERVICE = "paddle-serving"
"""Name of the gateway in logs and metrics."""

_MIN_RETRY_SECONDS, _MAX_RETRY_SECONDS = 1.0, 30.0

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
        delay = _MIN_RETRY_SECONDS
        try:
            while True:
                async for release in watch(self._store, self._settings.release_poll):
                    if not await self._switch_to(release):
                        break  # A new watch starts with the release that is active by then.
                    delay = _MIN_RETRY_SECONDS
                await asyncio.sleep(delay)
                delay = min(2 * delay, _MAX_RETRY_SECONDS)
        finally:
            for task in self._retiring:
                task.cancel()
            await asyncio.gather(*(fleet.stop() for fleet in self._fleets.values()))

    async def _switch_to(self, release: str) -> bool:
        if release not in self._fleets and not await self._start(release):
            return False
        previous, self._active = self._active, release
        metrics.RELEASE_ACTIVE.labels(SERVICE, release).set(1)
        metrics.RELEASE_SWITCHES.labels(SERVICE).inc()
        log.info("release is served", release=release)
        if previous:
            metrics.RELEASE_ACTIVE.labels(SERVICE, previous).set(0)
            task = asyncio.create_task(self._retire(previous))
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
        """Stop the pipelines of a release that is no longer active, after the requests that use it have ended."""
        await asyncio.sleep(self._settings.paddle_serving_linger)
        if release != self._active and (fleet := self._fleets.pop(release, None)):
            await fleet.stop()
            log.info("release is no longer served", release=release)
