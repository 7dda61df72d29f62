"""Redis for the lifetime of a service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from recmesh.serving.health import Check
from recmesh.serving.settings import RedisSettings
from recmesh.stores.keys import Keys
from recmesh.stores.redis import RedisReader


@asynccontextmanager
async def open_redis(settings: RedisSettings) -> AsyncIterator[tuple[RedisReader, Check]]:
    """A reader with a connection pool, and a check that Redis answers; both are closed at the end of the block.

    The check has a connection of its own: a busy pool must not make the service NOT_SERVING.
    """
    keys = Keys.of(settings.redis_prefix)
    url, timeout, credentials = settings.redis_url, settings.default_timeout, settings.redis_credentials
    reader = RedisReader(url, settings.redis_pool, timeout, keys, credentials)
    probe = RedisReader(url, 1, timeout, keys, credentials)
    try:
        yield reader, probe.ping
    finally:
        await reader.close()
        await probe.close()
