"""Following the active release: a release that does not load is tried again, and never ends the following."""

import time
from collections.abc import Awaitable, Callable

import structlog

from recmesh.releases import ModelStore, watch
from recmesh.serving import logs, metrics

MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 1.0, 60.0
"""The pause after a failure. It doubles with each further failure of the same release: a damaged release may be large,
and every try reads all of it."""

log = structlog.get_logger(__name__)


async def follow(
    service: str,
    store: ModelStore,
    interval: float,
    switch: Callable[[str], Awaitable[None]],
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Switch to the active release, and to the next one whenever it changes, until cancelled.

    A release that cannot be loaded, for whatever reason, is logged and counted. The service stays on its release, and
    tries again after a pause. A release that is activated meanwhile is tried at the next poll.

    Args:
        service: Name in logs and metrics.
        store: Polled for the active release.
        interval: Seconds between two polls.
        switch: Loads a release and makes the service use it.
        clock: Monotonic time in seconds.
    """
    current, failed, pause, retry_at = "", "", 0.0, 0.0
    async for release in watch(store, interval):
        if release == current or (release == failed and clock() < retry_at):
            continue
        try:
            await switch(release)
        except Exception as error:  # noqa: BLE001 - ONNX Runtime, numpy, zipfile and others have their own
            pause = min(2 * pause, MAX_PAUSE_SECONDS) if release == failed else MIN_PAUSE_SECONDS
            failed, retry_at = release, clock() + pause
            metrics.RELEASE_FAILURES.labels(service).inc()
            log.error(
                "release not loaded", service=service, release=release, reason=logs.reason(error), retry_seconds=pause
            )
        else:
            current, failed = release, ""
