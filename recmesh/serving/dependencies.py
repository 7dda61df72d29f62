"""What several services open at start and close after the drain."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from recmesh.serving.settings import RedisSettings
from recmesh.stores.milvus import MilvusReader
from recmesh.stores.redis import RedisReader


@asynccontextmanager
async def open_redis(settings: RedisSettings) -> AsyncIterator[RedisReader]:
    """A Redis pool for the life of the service."""
    reader = RedisReader(settings.redis_url, settings.redis_pool, settings.default_timeout)
    try:
        yield reader
    finally:
        await reader.close()


@asynccontextmanager
async def open_milvus(uri: str) -> AsyncIterator[MilvusReader]:
    """A Milvus channel for the life of the service."""
    reader = MilvusReader(uri)
    try:
        yield reader
    finally:
        await reader.close()
