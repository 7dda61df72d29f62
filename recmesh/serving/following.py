"""Following the active release: neither a release that does not load nor a lost pointer ends the following."""

import time
from collections.abc import Awaitable, Callable

import structlog

from recmesh.releases import ModelStore, watch
from recmesh.serving import logs, metrics
from recmesh.serving.backoff import Backoff
from recmesh.throttle import LogThrottle

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

    If no release is active any more, the service stays on its release, too. That is logged with growing pauses.

    Args:
        service: Name in logs and metrics.
        store: Polled for the active release.
        interval: Seconds between two polls.
        switch: Loads a release and makes the service use it.
        clock: Monotonic time in seconds.
    """
    current, failed = "", ""
    failures = Backoff(MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS, clock)
    lost = LogThrottle(clock=clock)
    async for release in watch(store, interval):
        metrics.RELEASE_MISSING.labels(service).set(int(release is None))
        if release is None:
            if line := lost.due():
                log.warning(
                    "no release is active",
                    service=service,
                    release=current,
                    attempts=line.events,
                    seconds=line.seconds,
                )
            continue
        if line := lost.over():
            log.info("a release is active again", service=service, release=release, seconds=line.seconds)
        if release == current or (release == failed and not failures.over):
            continue
        try:
            await switch(release)
        except Exception as error:  # noqa: BLE001 - ONNX Runtime, numpy, zipfile and others have their own
            if release != failed:
                failures.reset()
            failed = release
            metrics.RELEASE_FAILURES.labels(service).inc()
            log.error(
                "release not loaded",
                service=service,
                release=release,
                reason=logs.reason(error),
                retry_seconds=failures.failed(),
            )
        else:
            current, failed = release, ""
