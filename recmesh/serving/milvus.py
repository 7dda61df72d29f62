"""Milvus, as a service opens it at start and closes it after the drain."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from recmesh.stores.milvus import MilvusReader


@asynccontextmanager
async def open_milvus(uri: str) -> AsyncIterator[MilvusReader]:
    """A Milvus channel for the life of the service."""
    reader = MilvusReader(uri)
    try:
        yield reader
    finally:
        await reader.close()
