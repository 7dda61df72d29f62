"""Redis: reads of the services and writes of the jobs, against a real server."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import uvloop

from benchmarks.relay import LinkFault, Relay
from recmesh.errors import Overloaded, SettingsError, Unavailable
from recmesh.stores.redis import KEYS_PER_COMMAND, RedisReader, RedisWriter
from tests.servers import RedisServer, running_redis, start_redis


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """Run Redis with 200 items and two users."""
    with running_redis() as running:
        with redis.Redis(port=running.port) as client:
            client.mset({f"recmesh:item:{number}": f"i{number}".encode() for number in range(200)})
            client.mset({"recmesh:{u:1}:user": b"\x00profile", "recmesh:{u:1}:history": b"\xffhistory"})
            client.set("recmesh:{u:2}:user", b"new")
        yield running


async def test_a_user_is_read_as_raw_profile_and_history(server: RedisServer) -> None:
    reader = RedisReader(server.url)
    await reader.ping()
    assert await reader.get_user("1") == (b"\x00profile", b"\xffhistory")
    assert await reader.get_user("2") == (b"new", None)
    assert await reader.get_user("unknown") == (None, None)
    await reader.close()


async def test_items_are_in_the_order_of_the_request(server: RedisServer) -> None:
    reader = RedisReader(server.url)
    assert await reader.get_items(["7", "none", "3", "7"]) == [b"i7", None, b"i3", b"i7"]
    assert await reader.get_items([]) == []
    await reader.close()


async def test_calls_beyond_the_pool_wait(server: RedisServer) -> None:
    reader = RedisReader(server.url, connections=8, timeout=20)
    ids = [str(number) for number in range(100)]
    answers = await asyncio.gather(*(reader.get_items(ids) for _ in range(256)))
    assert all(answer == [f"i{number}".encode() for number in range(100)] for answer in answers)
    with redis.Redis(port=server.port) as client:
        assert int(client.info("clients")["connected_clients"]) <= 9
    await reader.close()


async def test_a_frozen_redis_causes_errors_in_time_and_recovers(server: RedisServer) -> None:
    reader = RedisReader(server.url, connections=2, timeout=0.2)
    await reader.get_items(["1"])
    server.signal_group(signal.SIGSTOP)
    try:
        answers = await asyncio.gather(*(reader.get_items(["1"]) for _ in range(12)), return_exceptions=True)
    finally:
        server.signal_group(signal.SIGCONT)
    assert {type(answer) for answer in answers} <= {Unavailable, Overloaded}
    assert await reader.get_items(["1"]) == [b"i1"]
    await reader.close()


async def test_only_one_command_tries_to_reconnect_and_the_others_fail_immediately(server: RedisServer) -> None:
    reader = RedisReader(server.url, connections=4, timeout=0.2)
    server.signal_group(signal.SIGSTOP)
    try:
        with pytest.raises(Unavailable):
            await reader.get_items(["1"])
        reader._connections._timeout = 60.0  # only an immediate failure can end the other commands
        trial = asyncio.create_task(reader.get_items(["1"]))
        others = await asyncio.gather(*(reader.get_items(["1"]) for _ in range(100)), return_exceptions=True)
        assert {type(other) for other in others} == {Unavailable}
        assert "not reachable: TimeoutError" in str(others[0])
        assert not trial.done()
    finally:
        server.signal_group(signal.SIGCONT)
    assert await trial == [b"i1"]
    assert await asyncio.gather(*(reader.get_items(["1"]) for _ in range(100))) == [[b"i1"]] * 100
    await reader.close()


async def test_an_open_connection_works_while_no_other_can_be_opened(tmp_path: Path) -> None:
    server = start_redis(tmp_path)
    reader = RedisReader(server.url, connections=3, timeout=5)
    try:
        assert await reader.get_items(["1"]) == [None]
        with redis.Redis(port=server.port) as client:
            client.config_set("maxclients", 1)
        answers = await asyncio.gather(*(reader.get_items(["1"]) for _ in range(3)), return_exceptions=True)
        assert [type(answer) for answer in answers] == [list, Unavailable, Unavailable]
        for _ in range(10):
            assert await reader.get_items(["1"]) == [None]
    finally:
        server.kill()
        await reader.close()


async def test_an_exhausted_pool_raises_overloaded(server: RedisServer) -> None:
    reader = RedisReader(server.url, connections=1, timeout=0.05)
    holder = await reader._connections.lend()
    with pytest.raises(Overloaded, match="no free connection"):
        await reader.get_items(["1"])
    reader._connections.take_back(holder)
    assert await reader.get_items(["1"]) == [b"i1"]
    await reader.close()


async def test_a_reader_reconnects_to_a_restarted_redis(tmp_path: Path) -> None:
    server = start_redis(tmp_path)
    reader = RedisReader(server.url, connections=4, timeout=5)
    await asyncio.gather(*(reader.get_items(["1"]) for _ in range(4)))
    server.kill()
    with pytest.raises(Unavailable):
        await reader.get_items(["1"])
    again = start_redis(tmp_path, server.port)
    try:
        assert await reader.get_items(["1"]) == [None]
        answers = await asyncio.gather(*(reader.get_items(["1"]) for _ in range(8)))
        assert answers == [[None]] * 8
    finally:
        again.kill()
        await reader.close()


def test_a_reader_replaces_connections_that_were_reset_while_they_were_idle(server: RedisServer) -> None:
    """On the event loop of the services, which refuses to write to such a connection."""

    async def read(relay: Relay) -> list[list[bytes | None]]:
        reader = RedisReader(f"redis://127.0.0.1:{relay.port}/0", connections=1, timeout=5)
        answers = [await reader.get_items(["1"])]
        relay.set(LinkFault.CUT)
        relay.set(None)
        for _ in range(10):  # let the loop see the reset
            await asyncio.sleep(0)
        answers.append(await reader.get_items(["1"]))
        await reader.close()
        return answers

    with Relay(server.port) as relay:
        assert uvloop.run(read(relay)) == [[b"i1"], [b"i1"]]


def test_the_error_for_a_wrong_url_has_no_password() -> None:
    with pytest.raises(SettingsError) as raised:
        RedisReader("http://user:secret@host")
    assert "secret" not in str(raised.value)
    with pytest.raises(Unavailable, match=r"Redis redis://\*\*\*@127"):
        RedisWriter("redis://:secret@127.0.0.1:1/0").count(["x"])


def test_the_writer_splits_keys_into_chunks(server: RedisServer) -> None:
    writer = RedisWriter(server.url)
    pairs = {f"w:{number}": str(number).encode() for number in range(2 * KEYS_PER_COMMAND + 1)}
    writer.write(pairs)
    assert writer.read(list(pairs)) == list(pairs.values())
    assert writer.count([*pairs, "w:none"]) == len(pairs)
    assert set(writer.scan("w:*")) == set(pairs)
    assert writer.delete([*pairs, "w:none"]) == len(pairs)
    assert writer.count(list(pairs)) == 0
    writer.close()


def test_a_claimed_hash_keeps_only_the_fields_of_its_owner(server: RedisServer) -> None:
    writer = RedisWriter(server.url)
    writer.claim("marks", "first")
    writer.set_fields("marks", {"rows": 3})
    writer.claim("marks", "first")
    assert writer.hash("marks") == {"owner": "first", "rows": "3"}
    writer.claim("marks", "second")
    assert writer.hash("marks") == {"owner": "second"}
    writer.close()
