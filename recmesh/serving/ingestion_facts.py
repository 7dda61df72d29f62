"""Facts about the latest ingestion into Redis, as metrics: its job has gone when they are scraped."""

import asyncio
import contextlib

from recmesh.errors import RecmeshError
from recmesh.serving import metrics
from recmesh.stores.redis import RedisReader

INTERVAL_SECONDS = 15.0

_ROWS = "rows."


async def follow(reader: RedisReader, interval: float = INTERVAL_SECONDS) -> None:
    """Export the facts every `interval` seconds until cancelled. While Redis does not answer, they stay."""
    while True:
        with contextlib.suppress(RecmeshError):
            export(await reader.latest_ingestion())
        await asyncio.sleep(interval)


def export(facts: dict[str, float]) -> None:
    """Set the metrics, if there was an ingestion that recorded facts."""
    if {"time", "seconds"} <= facts.keys():
        metrics.INGESTION_TIME.set(facts["time"])
        metrics.INGESTION_SECONDS.set(facts["seconds"])
    for name, rows in facts.items():
        if name.startswith(_ROWS):
            metrics.INGESTION_ROWS.labels(name.removeprefix(_ROWS)).set(rows)
