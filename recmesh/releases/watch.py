"""Following the active release."""

import asyncio
from collections.abc import AsyncIterator

import structlog

from recmesh.errors import RecmeshError
from recmesh.releases.store import ModelStore

_log = structlog.get_logger(__name__)


async def watch(store: ModelStore, interval: float) -> AsyncIterator[str]:
    """Yield the active id, then every new one, asking the store each `interval` seconds in a thread.

    A store that fails is asked again; its failure is logged once, and its return too.
    """
    seen: str | None = None
    failing = False
    while True:
        try:
            active = await asyncio.to_thread(store.active)
        except RecmeshError as error:
            if not failing:
                _log.warning("model store does not answer, the release stays", store=store.url, error=str(error))
            failing = True
        else:
            if failing:
                _log.info("model store answers again", store=store.url)
            failing = False
            if active is not None and active != seen:
                seen = active
                yield active
        await asyncio.sleep(interval)
