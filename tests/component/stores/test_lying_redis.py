"""A Redis whose replies do not belong to the commands: each is a failure of Redis, and the next call is right again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from recmesh.errors import Unavailable
from recmesh.stores.redis import RedisReader

TRUTH = b"*3\r\n$2\r\ni1\r\n$-1\r\n$2\r\ni3\r\n"
LIES = {
    "too short": b"*2\r\n$2\r\ni1\r\n$-1\r\n",
    "too long": b"*4\r\n$2\r\ni1\r\n$-1\r\n$2\r\ni3\r\n$2\r\ni4\r\n",
    "empty": b"*0\r\n",
    "no array": b"*-1\r\n",
    "nil": b"$-1\r\n",
    "a text": b"+OK\r\n",
    "bytes": b"$3\r\nabc\r\n",
    "an integer": b":3\r\n",
    "an error": b"-ERR wrong kind\r\n",
    "an error inside": b"*3\r\n$2\r\ni1\r\n-ERR moved\r\n$2\r\ni3\r\n",
    "an integer inside": b"*3\r\n$2\r\ni1\r\n:7\r\n$2\r\ni3\r\n",
    "an array inside": b"*3\r\n$2\r\ni1\r\n*1\r\n$1\r\nx\r\n$2\r\ni3\r\n",
    "no protocol": b"HTTP/1.1 400 Bad Request\r\n\r\n",
}
MISCONF = b"-MISCONF Errors writing to the AOF file: No space left on device\r\n"


@asynccontextmanager
async def redis_that_says(replies: list[bytes]) -> AsyncIterator[RedisReader]:
    """A reader of a server that gives these replies to MGET, whatever the connection, and the right ones after them."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while words := await _command(reader):
            writer.write(_reply(words, replies))
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    redis = RedisReader(f"redis://127.0.0.1:{port}", connections=1, timeout=2.0)
    try:
        yield redis
    finally:
        await redis.close()
        server.close()


async def _command(reader: asyncio.StreamReader) -> list[bytes]:
    count = (await reader.readline())[1:-2]
    words = []
    for _ in range(int(count or 0)):
        size = int((await reader.readline())[1:-2])
        words.append((await reader.readexactly(size + 2))[:-2])
    return words


def _reply(words: list[bytes], replies: list[bytes]) -> bytes:
    if words[0] == b"MGET":
        return replies.pop(0) if replies else TRUTH
    answers = {b"HEXISTS": b":0\r\n", b"EXISTS": b":0\r\n", b"PING": MISCONF}
    return answers.get(words[0], b"+OK\r\n")


@pytest.mark.parametrize("lie", LIES)
async def test_a_wrong_reply_is_a_failure_and_the_next_call_is_right(lie: str) -> None:
    async with redis_that_says([LIES[lie]]) as reader:
        with pytest.raises(Unavailable, match=r"Redis redis://127\.0\.0\.1:\d+: "):
            await reader.get_items(["1", "2", "3"])
        assert await reader.get_items(["1", "2", "3"]) == [b"i1", None, b"i3"]


async def test_a_user_needs_two_values() -> None:
    async with redis_that_says([b"*1\r\n$1\r\nx\r\n", b"*2\r\n$1\r\nx\r\n$-1\r\n"]) as reader:
        with pytest.raises(Unavailable, match="MGET was answered by list of 1"):
            await reader.get_user("5")
        assert await reader.get_user("5") == (b"x", None)


async def test_a_redis_whose_disk_is_full_is_healthy() -> None:
    """It answers reads, but neither writes nor PING."""
    async with redis_that_says([]) as reader:
        await reader.ping()
        assert await reader.get_items(["1", "2", "3"]) == [b"i1", None, b"i3"]
