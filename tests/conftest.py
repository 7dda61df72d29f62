"""Fixtures that several kinds of tests share."""

from collections.abc import Iterator

import pytest

from tests.servers import MilvusServer, RedisServer, running_milvus, running_redis


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A real Redis (`.url`, `.port`, `.pid`), shared by the session: use your own keys or flush what you need empty."""
    with running_redis() as server:
        yield server


@pytest.fixture(scope="session")
def milvus_server() -> Iterator[MilvusServer]:
    """The real Milvus standalone (`.uri`, `.port`, `.pid`), shared by the session: use your own collection names."""
    with running_milvus() as server:
        yield server
