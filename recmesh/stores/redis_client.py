"""redis-py's asynchronous client, for a service that writes."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import redis
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from recmesh.contract import without_credentials
from recmesh.errors import Overloaded
from recmesh.stores import redis_login
from recmesh.stores.credentials import Credentials
from recmesh.stores.redis_errors import NO_FREE_CONNECTION, settings_errors, store_errors

# The message of BlockingConnectionPool, which has no class of its own for this error.
_NO_CONNECTION = "No connection available."


@dataclass(frozen=True)
class RedisClient:
    """A client.

    Attributes:
        redis: redis-py's client. It repeats no command by itself: that could repeat a write.
        url: The URL, without credentials.
    """

    redis: Redis
    url: str

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Raise Overloaded if no connection becomes free during the block, and Unavailable if Redis fails."""
        with store_errors(self.url):
            try:
                yield
            except redis.ConnectionError as error:
                if str(error) == _NO_CONNECTION:
                    raise Overloaded(f"Redis {self.url}: {NO_FREE_CONNECTION}") from error
                raise


@asynccontextmanager
async def open_client(
    url: str, credentials: Credentials, connections: int, timeout: float
) -> AsyncIterator[RedisClient]:
    """A client, which is closed at the end of the block.

    Args:
        url: `redis://host:port/db`.
        credentials: User and password.
        connections: The size of the pool. Further commands wait.
        timeout: Seconds to wait for a connection, and then for an answer.

    Raises:
        SettingsError: If the URL is invalid, or has credentials although others are given.
    """
    with settings_errors(url):
        pool = BlockingConnectionPool.from_url(
            url,
            **redis_login.options(url, credentials, asynchronous=True),
            max_connections=connections,
            timeout=timeout,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),
        )
        redis_login.read_certificates_again(pool)
    client = Redis(connection_pool=pool)
    try:
        yield RedisClient(client, without_credentials(url))
    finally:
        await client.aclose()
        await pool.aclose()
