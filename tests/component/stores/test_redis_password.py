"""Passwords of Redis: of any characters, in every client, and in no message. The script of the chart starts Redis."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest
import redis

from recmesh.errors import RecmeshError, SettingsError, Unavailable
from recmesh.stores.credentials import NO_CREDENTIALS, Credentials
from recmesh.stores.redis import RedisReader, RedisWriter
from tests.passwords import ALL_ASCII, PASSWORDS
from tests.servers import RedisServer, start_redis

WRONG = "open-sesame"
ADVICE = "check RECMESH_REDIS_USERNAME and RECMESH_REDIS_PASSWORD or RECMESH_REDIS_PASSWORD_FILE"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis whose password is every printable character of ASCII, with a user `shop` who has another one."""
    running = start_redis(tmp_path_factory.mktemp("redis"), password=ALL_ASCII)
    with redis.Redis(port=running.port, password=ALL_ASCII) as client:
        client.acl_setuser("shop", enabled=True, passwords=["++own/pass"], keys=["*"], commands=["+@all"])
    yield running
    running.stop()


async def answers(url: str, credentials: Credentials = NO_CREDENTIALS) -> None:
    """Read through both clients."""
    writer = RedisWriter(url, credentials=credentials)
    writer.write({"recmesh:item:1": b"one"})
    writer.close()
    reader = RedisReader(url, credentials=credentials)
    assert await reader.get_items(["1"]) == [b"one"]
    await reader.close()


async def failures(url: str, credentials: Credentials) -> list[RecmeshError]:
    """The errors of both clients."""
    writer, reader = RedisWriter(url, credentials=credentials), RedisReader(url, credentials=credentials)
    with pytest.raises(Unavailable) as of_writer:
        writer.ping()
    with pytest.raises(Unavailable) as of_reader:
        await reader.ping()
    await reader.close()
    writer.close()
    return [of_writer.value, of_reader.value]


@pytest.mark.parametrize("password", PASSWORDS)
async def test_a_password_may_hold_any_character(password: str, tmp_path: Path) -> None:
    running = start_redis(tmp_path, password=password)
    try:
        await answers(running.url, Credentials("", password))
        await answers(running.url, Credentials("default", password))
        await answers(running.url.replace("//", f"//:{quote(password, safe='')}@"))
        shown = f"{' '.join(psutil.Process(running.pid).cmdline())} {running.log_tail()}"
    finally:
        running.stop()
    assert str(running.port) in shown
    assert password not in shown
    assert password.encode().hex() not in shown.replace("\\x", "")


async def test_a_user_of_an_access_control_list_has_its_own_password(server: RedisServer) -> None:
    await answers(server.url, Credentials("shop", "+own/pass"))
    await answers(server.url.replace("//", "//shop:%2Bown%2Fpass@"))


@pytest.mark.parametrize(
    ("credentials", "reason"),
    [
        (NO_CREDENTIALS, "Authentication required"),
        (Credentials("", WRONG), "invalid username-password pair or user is disabled"),
        (Credentials("shop", WRONG), "invalid username-password pair or user is disabled"),
    ],
)
async def test_the_error_of_a_wrong_password_says_what_to_do(
    credentials: Credentials, reason: str, server: RedisServer
) -> None:
    messages = [str(error) for error in await failures(server.url, credentials)]

    assert messages == [f"Redis {server.url}: AuthenticationError: {reason}; {ADVICE}"] * 2


async def test_a_password_for_a_redis_without_one_is_an_error(redis_server: RedisServer) -> None:
    for error in await failures(redis_server.url, Credentials("", WRONG)):
        assert "called without any password configured" in str(error)
        assert str(error).endswith(ADVICE)
        assert WRONG not in str(error)


async def test_an_unknown_command_auth_does_not_show_the_password(tmp_path: Path) -> None:
    """Redis quotes the arguments of a command that it does not know."""
    renamed = start_redis(tmp_path, options=("--rename-command", "AUTH", ""))
    try:
        messages = [str(error) for error in await failures(renamed.url, Credentials("", WRONG))]
    finally:
        renamed.stop()
    assert messages == [f"Redis {renamed.url}: ResponseError: unknown command 'AUTH'"] * 2


def test_credentials_in_the_url_and_in_settings_are_refused(server: RedisServer) -> None:
    url = server.url.replace("//", "//:sesame@")

    for client in (RedisReader, RedisWriter):
        with pytest.raises(SettingsError, match="remove them from the URL"):
            client(url, credentials=Credentials("", WRONG))
