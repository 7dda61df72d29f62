"""A pool of connections to Redis. A connection is lent for a single command.

redis-py's asynchronous client spends several times as much time on a command as Redis does: it needs a task for each
write, a lock and a check for each loan, and two layers of retries. This pool uses only its connections, which know
URLs, passwords and TLS. docs/adr/016 has the measurements.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import hiredis
import redis
import redis.asyncio
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from recmesh.errors import Overloaded
from recmesh.stores import redis_login
from recmesh.stores.credentials import Credentials
from recmesh.stores.redis_errors import NO_FREE_CONNECTION, NOT_CONNECTED
from recmesh.timeouts import in_time

Valid: TypeAlias = Callable[[Any], bool]
"""Whether an answer can be that of a command."""


class Connections:
    """A pool of connections to a URL, for use within an event loop. If all are lent, commands wait.

    After a failure to open a connection, only one command at a time tries to open another. Other commands without an
    open connection fail immediately: if each waited for its timeout, calls would pile up until the service rejects
    them. Open connections are lent first, and work independently of failures to open others.
    """

    def __init__(self, url: str, credentials: Credentials, limit: int, timeout: float) -> None:
        """Prepare the pool; connections are opened on demand.

        Args:
            url: `redis://host:port/db`.
            credentials: User and password.
            limit: The largest number of connections.
            timeout: Seconds that a command waits for a connection, and then for Redis.

        Raises:
            SettingsError: If the URL is invalid, or has credentials although others are given.
            ValueError: If an option of the URL is invalid.
        """
        pool = redis.asyncio.ConnectionPool.from_url(
            url,
            **redis_login.options(url, credentials, asynchronous=True),
            # One immediate retry. The default backs off for seconds.
            retry=Retry(NoBackoff(), 1),
        )
        redis_login.read_certificates_again(pool)
        self._make: Callable[[], AbstractConnection] = pool.make_connection
        self._timeout = timeout
        self._places = asyncio.Semaphore(limit)
        self._idle: deque[AbstractConnection] = deque()  # open connections are at the right end
        self._fault = ""  # why opening the last connection failed
        self._trying = False

    async def command(self, *words: str, valid: Valid) -> Any:
        """Send a command and return the answer.

        Args:
            *words: The command.
            valid: Whether an answer can be that of the command. If it is not, the connection may be out of step, and is
                closed.

        Raises:
            Overloaded: If no connection becomes free in time.
            redis.RedisError: If Redis reports an error, the answer is not valid, or the connection fails.
            OSError: If the connection fails.
            redis.TimeoutError: If a connection is not open in time.
            asyncio.TimeoutError: If Redis does not answer in time.
        """
        connection = await self.lend()
        try:
            if connection.is_connected:
                try:
                    return await self._ask(connection, words, valid)
                except redis.ConnectionError:
                    pass  # The connection died while it was idle, as all do when Redis restarts.
            with self._opening():
                return await self._ask(connection, words, valid)
        finally:
            self.take_back(connection)

    async def lend(self) -> AbstractConnection:
        """Return a connection, open or not, for exclusive use.

        Raises:
            Overloaded: If none becomes free in time.
        """
        if self._places.locked():
            try:
                await in_time(self._timeout, self._places.acquire())
            except asyncio.TimeoutError:
                raise Overloaded(NO_FREE_CONNECTION) from None
        else:
            await self._places.acquire()
        return self._idle.pop() if self._idle else self._make()

    def take_back(self, connection: AbstractConnection) -> None:
        """Return a lent connection to the pool."""
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
            raise redis.ConnectionError(f"not reachable: {self._fault}")
        if on_trial:
            self._trying = True
        try:
            yield
            self._fault = ""
        except (redis.ConnectionError, redis.TimeoutError, OSError, asyncio.TimeoutError) as error:
            self._fault = f"{type(error).__name__} {error}".rstrip()
            raise
        finally:
            if on_trial:
                self._trying = False

    async def _ask(self, connection: AbstractConnection, words: tuple[str, ...], valid: Valid) -> Any:
        try:
            answer = await in_time(self._timeout, _answer(connection, words))
            if not valid(answer):
                raise redis.InvalidResponse(f"{words[0]} was answered by {_described(answer)}")
            return answer
        except asyncio.TimeoutError:
            opened = connection.is_connected
            await connection.disconnect(nowait=True)
            if opened:
                raise
            raise redis.TimeoutError(NOT_CONNECTED) from None
        except BaseException:
            # A late answer must not be taken for the answer to the next command.
            await connection.disconnect(nowait=True)
            raise


def _described(answer: Any) -> str:
    """The kind of an answer, without its content."""
    kind = type(answer).__name__
    return f"{kind} of {len(answer)}" if isinstance(answer, list | bytes) else kind


async def _answer(connection: AbstractConnection, words: tuple[str, ...]) -> Any:
    # redis-py's own packing takes as long as everything else together. Sending opens a closed connection.
    command = hiredis.pack_command(words)  # type: ignore[arg-type]  # its stub allows only tuples of one word
    try:
        await connection.send_packed_command(command, check_health=False)
    except RuntimeError as error:  # uvloop's for a connection that was reset while it was idle
        raise redis.ConnectionError(str(error)) from error
    return await connection.read_response()
