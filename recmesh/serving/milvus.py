"""Milvus for the lifetime of a service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from recmesh.stores.milvus import MilvusReader


@asynccontextmanager
async def open_milvus(uri: str) -> AsyncIterator[MilvusReader]:
    """A reader that is closed at the end of the block."""
    reader = MilvusReader(uri)
    try:
        yield reader
    finally:
        await reader.close()
