"""The client of services that write: what its errors become."""

import pytest

from recmesh.errors import Overloaded, Unavailable
from recmesh.stores.credentials import NO_CREDENTIALS
from recmesh.stores.redis_client import RedisClient, open_client
from tests.servers import RedisServer, running_redis


async def test_a_command_without_a_free_connection_is_refused_as_overload(redis_server: RedisServer) -> None:
    async with open_client(redis_server.url, NO_CREDENTIALS, 1, 0.2) as client:
        pool = client.redis.connection_pool
        held = await pool.get_connection()  # type: ignore[no-untyped-call]
        with pytest.raises(Overloaded, match="no free connection in time; increase RECMESH_REDIS_POOL"):
            await _answers(client)
        await pool.release(held)
        await _answers(client)


async def test_a_redis_that_is_gone_is_unavailable_and_no_command_is_repeated() -> None:
    with running_redis() as server:
        async with open_client(server.url, NO_CREDENTIALS, 2, 1.0) as client:
            await _answers(client)
            server.kill()
            with pytest.raises(Unavailable, match=f"Redis {server.url}: ConnectionError"), client.errors():
                await client.redis.incr("counter")


async def _answers(client: RedisClient) -> None:
    with client.errors():
        assert await client.redis.ping()
