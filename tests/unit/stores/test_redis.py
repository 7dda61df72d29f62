"""The pool of connections to Redis and the reader, over connections that a test controls."""

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import Any

import hiredis
import pytest
import redis
import redis.asyncio

from recmesh.contract import without_credentials
from recmesh.errors import Overloaded, SettingsError, Unavailable
from recmesh.stores.credentials import NO_CREDENTIALS
from recmesh.stores.keys import Keys
from recmesh.stores.redis import RedisReader, RedisWriter
from recmesh.stores.redis_connections import Connections
from tests.unit.clock import Clock

URL = "redis://user:secret@127.0.0.1:1/0"
PLACE = re.escape(f"Redis {without_credentials(URL)}")


class _Connection:
    """A connection to a Redis that a test describes.

    Attributes:
        sent: The commands that reached Redis.
    """

    def __init__(self, server: "_Server") -> None:
        self.server = server
        self.is_connected = False
        self.alive = True
        self.words: list[bytes] = []

    async def send_packed_command(self, command: bytes, check_health: bool) -> None:
        assert not check_health
        if not self.is_connected:
            self.server.opened += 1
            if self.server.down is not None:
                raise self.server.down
            if self.server.slow is not None:
                await self.server.slow.wait()
            self.is_connected = self.alive = True
        elif not self.alive:
            self.is_connected = False
            raise redis.ConnectionError("closed")
        reader = hiredis.Reader()
        reader.feed(command)
        self.words = reader.gets()

    async def read_response(self) -> Any:
        return await self.server.answered(self.words)

    async def disconnect(self, nowait: bool = False) -> None:
        self.server.closed.append(nowait)
        self.is_connected = False


class _Server:
    """A Redis.

    Attributes:
        commands: Those that it got, as text.
        opened: How often a connection was opened, or tried to be.
        closed: For each connection that was closed, whether at once.
        down: What opening a connection raises.
        slow: What opening a connection waits for.
    """

    def __init__(self, answer: Callable[[list[str]], Any] = lambda _: b"PONG") -> None:
        self.answer = answer
        self.commands: list[list[str]] = []
        self.made: list[_Connection] = []
        self.opened = 0
        self.closed: list[bool] = []
        self.down: Exception | None = None
        self.slow: asyncio.Event | None = None
        self.hold: asyncio.Event | None = None

    async def answered(self, words: Sequence[bytes]) -> Any:
        self.commands.append([word.decode() for word in words])
        if self.hold is not None:
            await self.hold.wait()
        answer = self.answer(self.commands[-1])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def make(self) -> _Connection:
        self.made.append(_Connection(self))
        return self.made[-1]


def pool(server: _Server, limit: int = 2, timeout: float = 5.0) -> Connections:
    connections = Connections(URL, NO_CREDENTIALS, limit, timeout)
    connections._make = server.make  # type: ignore[assignment]
    return connections


def anything(_answer: Any) -> bool:
    return True


async def test_an_open_connection_is_lent_again() -> None:
    server = _Server()
    connections = pool(server)
    for _ in range(3):
        assert await connections.command("PING", valid=anything) == b"PONG"
    assert (len(server.made), server.opened, server.commands) == (1, 1, [["PING"]] * 3)
    await connections.close()
    assert server.closed == [False]


async def test_if_all_connections_are_lent_commands_wait_for_one() -> None:
    server = _Server()
    server.hold = asyncio.Event()
    connections = pool(server, limit=2)
    commands = [asyncio.create_task(connections.command("GET", str(n), valid=anything)) for n in range(4)]
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(server.commands) == 2
    server.hold.set()
    await asyncio.gather(*commands)
    assert (len(server.commands), len(server.made)) == (4, 2)


async def test_a_command_that_gets_no_connection_in_time_is_overload() -> None:
    server = _Server()
    connections = pool(server, limit=1, timeout=0.01)
    lent = await connections.lend()
    with pytest.raises(Overloaded, match="no free connection in time; increase RECMESH_REDIS_POOL or add replicas"):
        await connections.command("PING", valid=anything)
    connections.take_back(lent)
    assert await connections.command("PING", valid=anything) == b"PONG"


async def test_open_connections_are_lent_before_others() -> None:
    server = _Server()
    connections = pool(server, limit=3)
    first, second, third = [await connections.lend() for _ in range(3)]
    second.is_connected = True  # type: ignore[misc]
    for connection in (first, second, third):
        connections.take_back(connection)
    assert await connections.lend() is second


async def test_a_connection_that_died_while_idle_is_opened_again_within_the_command() -> None:
    server = _Server()
    connections = pool(server)
    await connections.command("PING", valid=anything)
    server.made[0].alive = False
    assert await connections.command("PING", valid=anything) == b"PONG"
    assert (server.opened, len(server.made)) == (2, 1)


async def test_after_a_failure_one_command_at_a_time_tries_to_connect_and_others_fail_at_once() -> None:
    server = _Server()
    server.down = redis.ConnectionError("refused")
    connections = pool(server, limit=4)
    with pytest.raises(redis.ConnectionError, match=r"^refused$"):
        await connections.command("PING", valid=anything)
    server.down, server.slow = None, asyncio.Event()
    trying = asyncio.create_task(connections.command("PING", valid=anything))
    await asyncio.sleep(0)
    opened = server.opened
    for _ in range(3):
        with pytest.raises(redis.ConnectionError, match="not reachable: ConnectionError refused"):
            await connections.command("PING", valid=anything)
    assert server.opened == opened == 2
    server.slow.set()
    assert await trying == b"PONG"
    # Now all may connect again.
    server.hold, server.slow = asyncio.Event(), None
    both = [asyncio.create_task(connections.command("PING", valid=anything)) for _ in range(3)]
    for _ in range(10):
        await asyncio.sleep(0)
    assert server.opened == 4
    server.hold.set()
    assert await asyncio.gather(*both) == [b"PONG"] * 3


async def test_the_next_command_tries_after_one_that_failed_to_connect() -> None:
    server = _Server()
    server.down = OSError("no route")
    connections = pool(server)
    for _ in range(3):
        with pytest.raises(OSError, match="no route"):
            await connections.command("PING", valid=anything)
    assert server.opened == 3
    server.down = None
    assert await connections.command("PING", valid=anything) == b"PONG"


async def test_an_answer_that_cannot_be_right_closes_the_connection_and_is_not_shown() -> None:
    server = _Server(lambda words: [b"secret"])
    connections = pool(server)
    with pytest.raises(redis.InvalidResponse, match=r"^GET was answered by list of 1$"):
        await connections.command("GET", "a", valid=lambda answer: not isinstance(answer, list))
    assert (server.closed, server.made[0].is_connected) == ([True], False)


async def test_an_answer_that_comes_too_late_closes_the_connection() -> None:
    server = _Server()
    server.hold = asyncio.Event()
    connections = pool(server, timeout=0.01)
    with pytest.raises(asyncio.TimeoutError):
        await connections.command("PING", valid=anything)
    assert server.closed == [True]


def test_a_pool_retries_once_without_a_pause_and_speaks_the_second_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, dict[str, Any]]] = []

    def from_url(url: str, **options: Any) -> Any:
        made.append((url, options))
        return type("Pool", (), {"make_connection": None, "connection_class": None})

    monkeypatch.setattr(redis.asyncio.ConnectionPool, "from_url", from_url)
    Connections(URL, NO_CREDENTIALS, 2, 1.0)
    ((url, options),) = made
    retry = options.pop("retry")
    assert (url, options) == (URL, {"protocol": 2, "driver_info": None})
    assert (retry._retries, retry._backoff.compute(1)) == (1, 0)


def reader(server: _Server, keys: Keys | None = None) -> RedisReader:
    made = RedisReader(URL, 2, 5.0, keys or Keys.of("shop:"))
    made._connections = pool(server)
    return made


async def test_a_user_and_items_are_read_by_their_keys() -> None:
    server = _Server(lambda words: [word.encode() for word in words[1:]])
    reading = reader(server)
    assert await reading.get_user("7") == (b"shop:{u:7}:user", b"shop:{u:7}:history")
    assert await reading.get_items(["b", "a"]) == [b"shop:item:b", b"shop:item:a"]
    assert await reading.get_items([]) == []
    assert server.commands == [
        ["MGET", "shop:{u:7}:user", "shop:{u:7}:history"],
        ["MGET", "shop:item:b", "shop:item:a"],
    ]


@pytest.mark.parametrize("answer", [[b"a"], [b"a", b"b", b"c"], [b"a", 1], b"ab", None])
async def test_values_that_do_not_fit_the_keys_are_refused(answer: Any) -> None:
    with pytest.raises(Unavailable, match=rf"^{PLACE}: InvalidResponse: MGET was answered by"):
        await reader(_Server(lambda _: answer)).get_items(["a", "b"])


@pytest.mark.parametrize(("answer", "right"), [(0, True), (1, True), (b"OK", False)])
async def test_a_ping_is_a_read_that_wants_a_number(answer: Any, right: bool) -> None:
    pinging = reader(_Server(lambda _: answer))
    if right:
        await pinging.ping()
    else:
        with pytest.raises(Unavailable, match="EXISTS was answered by bytes of 2"):
            await pinging.ping()


async def test_errors_name_redis_without_its_password() -> None:
    assert "secret" not in PLACE
    server = _Server()
    server.down = redis.ConnectionError("refused")
    with pytest.raises(Unavailable, match=rf"^{PLACE}: ConnectionError: refused$"):
        await reader(server).ping()
    busy = reader(_Server())
    busy._connections = pool(_Server(), limit=1, timeout=0.01)
    await busy._connections.lend()
    with pytest.raises(Overloaded, match=rf"^{PLACE}: no free connection in time"):
        await busy.ping()
    with pytest.raises(SettingsError, match=r"^RECMESH_REDIS_URL must be redis://host:port/db"):
        RedisReader("ftp://user:secret@host")


async def test_the_default_prefix_reads_the_keys_of_version_0_1_0_until_an_ingestion(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It looks once a second, and never again once they have been replaced."""
    clock, old = Clock(monkeypatch, "recmesh.stores.redis"), True

    def answer(words: list[str]) -> Any:
        return int(old) if words[0] == "HEXISTS" else [word.encode() for word in words[1:]]

    server = _Server(answer)
    reading = reader(server, Keys.of())
    reads = [await reading.get_items(["a"])]
    clock.now += 0.9
    reads.append(await reading.get_items(["a"]))
    assert reads == [[b"item:a"]] * 2
    assert server.commands[0] == ["HEXISTS", "ingest:redis", "owner"]
    assert [words[0] for words in server.commands] == ["HEXISTS", "MGET", "MGET"]
    old = False
    clock.now += 0.1
    assert await reading.get_items(["a"]) == [b"recmesh:item:a"]
    clock.now += 100
    await reading.get_items(["a"])
    assert [words[0] for words in server.commands].count("HEXISTS") == 2


async def test_a_key_of_another_application_is_no_ingestion_of_version_0_1_0() -> None:
    def answer(words: list[str]) -> Any:
        return redis.ResponseError("WRONGTYPE") if words[0] == "HEXISTS" else [b"v"]

    assert await reader(_Server(answer), Keys.of()).get_items(["a"]) == [b"v"]
    server = _Server()
    server.down = redis.ConnectionError("refused")
    with pytest.raises(Unavailable):
        await reader(server, Keys.of()).get_items(["a"])


class _Client:
    """redis-py's client, with keys in chunks."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []

    def mset(self, pairs: dict[str, bytes]) -> None:
        self.calls.append(("mset", len(pairs)))

    def mget(self, keys: Sequence[str]) -> list[bytes]:
        self.calls.append(("mget", len(keys)))
        return [key.encode() for key in keys]

    def exists(self, *keys: str) -> int:
        self.calls.append(("exists", len(keys)))
        return len(keys) - 1

    def unlink(self, *keys: str) -> int:
        self.calls.append(("unlink", len(keys)))
        return len(keys)


def test_the_writer_works_in_chunks_of_2000_keys() -> None:
    writer, client = RedisWriter(URL), _Client()
    writer._redis = client  # type: ignore[assignment]
    keys = [str(number) for number in range(4_001)]
    writer.write(dict.fromkeys(keys, b""))
    assert writer.read(keys) == [key.encode() for key in keys]
    assert (writer.count(keys), writer.delete(keys)) == (3_998, 4_001)
    assert client.calls == [(name, n) for name in ("mset", "mget", "exists", "unlink") for n in (2_000, 2_000, 1)]
