"""Polling the model store for the active release."""

import asyncio
from collections.abc import AsyncIterator

import structlog

from recmesh.releases.store import ModelStore

_log = structlog.get_logger(__name__)


async def watch(store: ModelStore, interval: float) -> AsyncIterator[str]:
    """Yield the id of the active release at every poll that finds one.

    Failures of the store, of whatever kind, do not end the iterator. The first failure and the recovery are logged.

    Args:
        store: The model store, polled in a thread.
        interval: Seconds between two polls.

    Yields:
        The id of the active release.
    """
    failing = False
    while True:
        try:
            active = await asyncio.to_thread(store.active)
        except Exception as error:  # noqa: BLE001 - nobody would restart the polling
            if not failing:
                _log.warning(
                    "model store does not answer; keeping the current release", store=store.url, error=str(error)
                )
            failing = True
        else:
            if failing:
                _log.info("model store answers again", store=store.url)
            failing = False
            if active is not None:
                yield active
        await asyncio.sleep(interval)
