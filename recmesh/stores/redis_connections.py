"""Connections to Redis, lent one command at a time.

redis-py's asynchronous client spends several times as much on a command as Redis itself: a task for each write, a lock
and a check for each loan, two layers of retries. Its connections are what knows URLs, passwords and TLS, so these are
kept, and lent here.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import hiredis
import redis
import redis.asyncio
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from recmesh.errors import Overloaded
from recmesh.timeouts import in_time


class Connections:
    """At most `limit` connections to a URL; who comes when all are lent waits. Use it within one event loop.

    Once a connection could not be opened, one command at a time tries to open one, and the others that have none fail
    at once: if each waited for its timeout, callers would pile up until they are refused themselves. Open connections
    go first, and are used whatever happens to new ones.

    timeout: seconds that a command waits for a connection, and then for Redis.
    Raises ValueError for a URL that is none.
    """

    def __init__(self, url: str, limit: int, timeout: float) -> None:
        pool = redis.asyncio.ConnectionPool.from_url(
            url,
            # One new attempt at once; the default backs off for seconds.
            retry=Retry(NoBackoff(), 1),
            protocol=2,
            driver_info=None,
        )
        self._make: Callable[[], AbstractConnection] = pool.make_connection
        self._timeout = timeout
        self._places = asyncio.Semaphore(limit)
        self._idle: deque[AbstractConnection] = deque()  # the open ones at the right end
        self._fault = ""  # why the last connection could not be opened
        self._trying = False

    async def command(self, *words: str) -> Any:
        """What Redis answers to a command.

        Raises Overloaded when no connection came free in time; redis.RedisError, OSError or asyncio.TimeoutError when
        Redis does not answer.
        """
        connection = await self.lend()
        try:
            if connection.is_connected:
                try:
                    return await self._ask(connection, words)
                except redis.ConnectionError:
                    pass  # It died while it was idle, as all do when Redis starts again.
            with self._opening():
                return await self._ask(connection, words)
        finally:
            self.take_back(connection)

    async def lend(self) -> AbstractConnection:
        """A connection that nobody else uses, open or not. Raises Overloaded."""
        if self._places.locked():
            try:
                await in_time(self._timeout, self._places.acquire())
            except asyncio.TimeoutError:
                raise Overloaded("no free connection in time; raise RECMESH_REDIS_POOL or add replicas") from None
        else:
            await self._places.acquire()
        return self._idle.pop() if self._idle else self._make()

    def take_back(self, connection: AbstractConnection) -> None:
        """A lent connection is free again."""
        (self._idle.append if connection.is_connected else self._idle.appendleft)(connection)
        self._places.release()

    async def close(self) -> None:
        """Close all connections that are not lent."""
        for connection in self._idle:
            await connection.disconnect()

    @contextmanager
    def _opening(self) -> Iterator[None]:
        on_trial = bool(self._fault)
        if on_trial and self._trying:
            raise redis.ConnectionError(f"away: {self._fault}")
        if on_trial:
            self._trying = True
        try:
            yield
            self._fault = ""
        except (redis.ConnectionError, OSError, asyncio.TimeoutError) as error:
            self._fault = f"{type(error).__name__} {error}".rstrip()
            raise
        finally:
            if on_trial:
                self._trying = False

    async def _ask(self, connection: AbstractConnection, words: tuple[str, ...]) -> Any:
        try:
            return await in_time(self._timeout, _answer(connection, words))
        except BaseException:
            # An answer that comes after its caller has given up must not be taken for the next one.
            await connection.disconnect(nowait=True)
            raise


async def _answer(connection: AbstractConnection, words: tuple[str, ...]) -> Any:
    # redis-py's own packing takes as long as all the rest. Sending opens the connection where it is not.
    command = hiredis.pack_command(words)  # type: ignore[arg-type]  # its stub knows tuples of one word only
    await connection.send_packed_command(command, check_health=False)
    return await connection.read_response()
