"""Redis, as a service opens it at start and closes it after the drain."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from recmesh.serving.health import Check
from recmesh.serving.settings import RedisSettings
from recmesh.stores.redis import RedisReader


@asynccontextmanager
async def open_redis(settings: RedisSettings) -> AsyncIterator[tuple[RedisReader, Check]]:
    """A Redis pool for the life of the service, and a check that Redis answers.

    The check has a connection of its own: a pool that is busy must not take the service out of service.
    """
    reader = RedisReader(settings.redis_url, settings.redis_pool, settings.default_timeout)
    probe = RedisReader(settings.redis_url, 1, settings.default_timeout)
    try:
        yield reader, probe.ping
    finally:
        await reader.close()
        await probe.close()
