"""Polling the model store for the active release."""

import asyncio
from collections.abc import AsyncIterator

import structlog

from recmesh.releases.store import ModelStore
from recmesh.throttle import LogThrottle

log = structlog.get_logger(__name__)


async def watch(store: ModelStore, interval: float) -> AsyncIterator[str | None]:
    """Yield the id of the active release at every poll that the store answers; None if no release is active.

    Failures of the store, of whatever kind, do not end the iterator. Failures are logged with
    growing pauses, and so is the recovery.

    Args:
        store: The model store, polled in a thread.
        interval: Seconds between two polls.

    Yields:
        The id of the active release, or None.
    """
    faults = LogThrottle()
    while True:
        try:
            active = await asyncio.to_thread(store.active)
        except Exception as error:  # noqa: BLE001 - nobody would restart the polling
            if line := faults.due(reason=str(error)):
                log.warning(
                    "model store does not answer; keeping the current release",
                    store=store.url,
                    reason=str(error),
                    attempts=line.events,
                    seconds=line.seconds,
                )
        else:
            if line := faults.over():
                log.info("model store answers again", store=store.url, attempts=line.events, seconds=line.seconds)
            yield active
        await asyncio.sleep(interval)
