"""The script that starts Redis in the chart: users and certificates change while commands are sent."""

import asyncio
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest
import redis

from recmesh.stores.acl import USERS, users_file
from recmesh.stores.credentials import Credentials
from recmesh.stores.redis import RedisReader
from tests.servers import ROOT, SecuredRedis, start_secured_redis, wait_until

FIRST, SECOND = "first-password", "second-password"


def users(*passwords: str) -> str:
    """The users um, with these passwords, and cm."""
    return users_file({"um": passwords, "cm": ["cm"]})


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SecuredRedis]:
    """A Redis with two users."""
    running = start_secured_redis(tmp_path, users(FIRST))
    yield running
    running.stop()


def connected(server: SecuredRedis, user: str, password: str) -> "redis.Redis":
    """A client with a connection of its own."""
    client = redis.Redis.from_url(server.url, username=user, password=password, single_connection_client=True)
    client.ping()
    return client


def refused(server: SecuredRedis, user: str, password: str) -> bool:
    with pytest.raises(redis.AuthenticationError, match="invalid username-password pair or user is disabled"):
        connected(server, user, password)
    return True


async def test_passwords_change_without_a_failed_command(server: SecuredRedis) -> None:
    """Readers that open connections all the time, and one that keeps its connection."""
    kept = connected(server, "um", FIRST)
    done, password = asyncio.Semaphore(0), FIRST

    async def read() -> None:
        while not stopped.is_set():
            reader = RedisReader(server.url, 1, 20.0, credentials=Credentials("um", password))
            assert await reader.get_user("5") == (None, None)
            await reader.close()
            done.release()

    async def progress() -> None:
        for _ in range(10):
            await done.acquire()

    stopped = asyncio.Event()
    readers = [asyncio.create_task(read()) for _ in range(4)]
    await progress()
    await asyncio.to_thread(server.changed, lambda: server.set_users(users(FIRST, SECOND)))
    await progress()
    password = SECOND
    await progress()
    await asyncio.to_thread(server.changed, lambda: server.set_users(users(SECOND)))
    await progress()
    stopped.set()
    await asyncio.gather(*readers)

    assert kept.exists("recmesh:ingest:redis") == 0  # logged in with the old password
    assert refused(server, "um", FIRST)


def test_a_user_that_is_removed_is_cut_off(server: SecuredRedis) -> None:
    um, cm = connected(server, "um", FIRST), connected(server, "cm", "cm")

    server.changed(lambda: server.set_users(users_file({"um": [FIRST]})))

    assert um.ping()
    with pytest.raises(redis.RedisError):
        cm.echo("hello")
    assert refused(server, "cm", "cm")


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        ("", "has no line 'user NAME RULE...'"),
        ("user default on nopass ~* +@all\n", "has no line 'user NAME RULE...'"),
        ("user um on +everything\n", "ERR Error in ACL SETUSER modifier '+everything': Unknown command"),
    ],
)
def test_a_damaged_file_changes_nothing_until_it_is_right(damaged: str, message: str, server: SecuredRedis) -> None:
    server.set_users(damaged)
    wait_until(lambda: message in server.log.read_text(), server, "Redis", 20)
    assert "#" not in server.log.read_text().partition(message)[0].partition("not applied")[2]  # no hash
    assert connected(server, "um", FIRST).ping()
    assert connected(server, "cm", "cm").ping()

    server.changed(lambda: server.set_users(users(SECOND)))
    assert connected(server, "um", SECOND).ping()


def test_the_default_user_stays_off(server: SecuredRedis) -> None:
    server.changed(lambda: server.set_users("user default on nopass ~* +@all\n" + users(SECOND)))
    with redis.Redis.from_url(server.url, protocol=2) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()


@pytest.mark.parametrize(
    ("variables", "password"),
    [({"REDIS_DEFAULT_USER": "nopass"}, ""), ({"REDIS_DEFAULT_PASSWORD": "of old #1"}, "of old #1")],
)
def test_during_an_upgrade_clients_without_a_user_stay(
    variables: dict[str, str], password: str, tmp_path: Path
) -> None:
    """They may do what recmesh does, and nothing dangerous, also after a change of the users."""
    server = start_secured_redis(tmp_path, users(FIRST), environment=variables)
    try:
        old = redis.Redis.from_url(server.url, password=password)
        for lines in (users(FIRST, SECOND), users(SECOND)):
            assert old.mset({"recmesh:item:1": "one"})
            assert old.eval("return redis.call('GET', KEYS[1])", 1, "recmesh:item:1") == b"one"
            with pytest.raises(redis.exceptions.NoPermissionError):
                old.flushall()
            server.changed(partial(server.set_users, lines))
        assert connected(server, "um", SECOND).ping()
    finally:
        server.stop()


def test_no_argument_and_no_file_has_a_secret(server: SecuredRedis) -> None:
    """Not even a hash, since a password of a user's own may be weak."""
    processes = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    shown = " ".join(word for process in processes for word in process.cmdline())
    files = [path for path in server.folder.rglob("*") if path.is_file() and path.parent.name not in ("auth", "bin")]
    hashes = [rule[1:] for rule in users(FIRST).split() if rule.startswith("#")]

    assert "redis-server" in shown
    assert [path.name for path in files] == ["redis.log"]
    assert not [word for word in (*hashes, FIRST) if word in shown + files[0].read_text()]


def test_the_loop_ends_with_redis(server: SecuredRedis) -> None:
    children = psutil.Process(server.pid).children(recursive=True)
    assert children
    server.process.kill()
    server.process.wait()
    assert psutil.wait_procs(children, timeout=20)[1] == []


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("users.acl", "and the Secret with the password of Redis is empty: give it a password"),
        ("run", "run is not writable: mount an empty folder there"),
    ],
)
def test_what_is_missing_is_named(missing: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "auth").mkdir()
    if missing != "users.acl":
        (tmp_path / "auth" / "users.acl").write_text(users_file({user: [user] for user in USERS}))
    variables = {"REDIS_AUTH": str(tmp_path / "auth"), "REDIS_TLS": "", "REDIS_RUN": str(tmp_path / "run")}
    command = ["/usr/bin/env", *(f"{name}={value}" for name, value in variables.items())]
    ended = subprocess.run(
        [*command, "sh", str(ROOT / "charts/recmesh/files/redis-start.sh")], capture_output=True, text=True, check=False
    )

    assert ended.returncode == 1
    assert message in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
