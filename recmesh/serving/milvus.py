"""Milvus for the lifetime of a service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from recmesh.serving.settings import MilvusSettings
from recmesh.stores.milvus import MilvusReader


@asynccontextmanager
async def open_milvus(settings: MilvusSettings) -> AsyncIterator[MilvusReader]:
    """A reader that is closed at the end of the block."""
    reader = MilvusReader(settings.milvus_uri, settings.milvus_credentials)
    try:
        yield reader
    finally:
        await reader.close()
