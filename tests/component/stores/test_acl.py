"""The users of Redis: what each may do and may not, on a Redis that the script of the chart runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from recmesh.errors import SettingsError
from recmesh.stores.acl import USERS, User, users_file
from tests.servers import SecuredRedis, start_secured_redis

TESTER = "user tester on >tester ~* &* +@all\n"
"""Somebody who may do everything, to look behind the scenes."""

READERS: tuple[User, ...] = ("um", "cm", "recall", "compact", "controller", "probe")
NO_KEY = "this user has no permissions to access one of the keys used as arguments"
DENIED = "This user has no permissions to"
WRITES = (
    "SET recmesh:item:1 x",
    "MSET recmesh:item:1 x",
    "DEL recmesh:item:1",
    "UNLINK recmesh:item:1",
    "HSET recmesh:ingest:redis owner x",
    "ZADD recmesh:{items}:changes 1 x",
    "XADD recmesh:{log:0}:entries * e x",
    "SADD recmesh:deleted x",
    "EXPIRE recmesh:item:1 1",
    "RENAME recmesh:item:1 recmesh:item:2",
)
DANGEROUS = (
    *("FLUSHALL", "FLUSHDB", "SWAPDB 0 1", "KEYS *", "MONITOR", "SORT recmesh:deleted", "MIGRATE h 1 k 0 1"),
    *("CONFIG GET *", "CONFIG SET save x", "CONFIG REWRITE", "SHUTDOWN NOSAVE", "MODULE LIST"),
    *("REPLICAOF h 1", "SLAVEOF h 1", "FAILOVER", "SYNC", "PSYNC ? -1", "SAVE", "BGSAVE", "BGREWRITEAOF"),
    *(
        "ACL LIST",
        "ACL SETUSER x",
        "ACL DELUSER um",
        "ACL LOAD",
        "ACL SAVE",
        "SCRIPT FLUSH",
        "SCRIPT KILL",
        "CLIENT KILL x",
    ),
    *("CLIENT PAUSE 1", "FUNCTION LOAD x", "FUNCTION FLUSH", "RESTORE recmesh:item:1 0 x", "SLOWLOG RESET"),
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredRedis]:
    """A Redis with all users, whose passwords are their names."""
    folder = tmp_path_factory.mktemp("redis")
    running = start_secured_redis(folder, users_file({user: [user] for user in USERS}) + TESTER)
    with client(running, "tester") as tester:
        tester.mset(
            {"recmesh:item:1": "one", "recmesh:{u:1}:user": "ann", "recmesh:{u:1}:history": "acts", "other:1": "o"}
        )
    yield running
    running.stop()


def client(server: SecuredRedis, user: str, password: str = "") -> "redis.Redis":
    return redis.Redis.from_url(server.url, username=user, password=password or user, decode_responses=True)


def refusal(server: SecuredRedis, user: str, command: str) -> str:
    """Why a user may not run a command."""
    with client(server, user) as connection, pytest.raises(redis.exceptions.NoPermissionError) as raised:
        connection.execute_command(*command.split())
    return str(raised.value)


@pytest.mark.parametrize("command", WRITES)
@pytest.mark.parametrize("user", READERS)
def test_a_reader_may_not_write(user: User, command: str, server: SecuredRedis) -> None:
    assert refusal(server, user, command).startswith("this user has no permissions to run the")


@pytest.mark.parametrize("command", DANGEROUS)
def test_nobody_may_run_a_dangerous_command(command: str, server: SecuredRedis) -> None:
    for user in USERS:
        assert refusal(server, user, command).startswith("this user has no permissions to run the")


def test_a_reader_gets_its_values_and_no_others(server: SecuredRedis) -> None:
    profile, item = ("MGET recmesh:{u:1}:user recmesh:{u:1}:history", ["ann", "acts"]), ("MGET recmesh:item:1", ["one"])
    for user, allowed, denied in (
        ("um", (profile,), item),
        ("cm", (item,), profile),
        ("recall", (item,), profile),
        ("compact", (profile, item), ("MGET other:1", ["o"])),
    ):
        with client(server, user) as connection:
            for command, values in allowed:
                assert connection.execute_command(*command.split()) == values
        assert refusal(server, user, denied[0]) == NO_KEY


@pytest.mark.parametrize("user", [user for user in USERS if user not in ("controller", "probe")])
def test_no_user_reaches_the_keys_of_others(user: User, server: SecuredRedis) -> None:
    assert refusal(server, user, "MGET other:1") == NO_KEY


def test_an_operator_reads_and_repairs_values(server: SecuredRedis) -> None:
    with client(server, "operator") as connection:
        assert connection.set("recmesh:item:7", "seven")
        assert "recmesh:item:7" in list(connection.scan_iter("recmesh:item:*"))
        assert connection.delete("recmesh:item:7") == 1
        assert connection.info("server")["redis_version"]
        assert connection.slowlog_get() == []


def test_the_probe_learns_that_redis_answers_and_its_figures_and_nothing_else(server: SecuredRedis) -> None:
    with client(server, "probe") as connection:
        assert connection.exists("recmesh") == 0
        assert connection.info()["connected_clients"] >= 1
    assert "no permissions" in refusal(server, "probe", "CONFIG GET *")
    assert refusal(server, "probe", "EXISTS recmesh:item:1") == NO_KEY


def test_the_controller_learns_what_the_latest_ingestion_did_and_nothing_else(server: SecuredRedis) -> None:
    with client(server, "controller") as connection:
        assert connection.hgetall("recmesh:ingest:latest") == {}
    for key in ("recmesh:ingest:redis", "recmesh:{counts}:1", "other:1"):
        assert refusal(server, "controller", f"HGETALL {key}") == NO_KEY


def test_without_a_user_nothing_is_answered(server: SecuredRedis) -> None:
    with (
        redis.Redis.from_url(server.url, protocol=2) as stranger,
        pytest.raises(redis.AuthenticationError, match="required"),
    ):
        stranger.ping()
    with client(server, "default", "default") as default, pytest.raises(redis.AuthenticationError, match="disabled"):
        default.ping()


def test_another_prefix_has_keys_of_its_own_and_none_of_version_0_1_0(tmp_path: Path) -> None:
    running = start_secured_redis(tmp_path, users_file({"um": ["um"], "ingest": ["ingest"]}, "shop2:") + TESTER)
    try:
        with client(running, "ingest") as ingest, client(running, "um") as um:
            ingest.mset({"shop2:{u:1}:user": "ann", "shop2:{u:1}:history": "acts"})
            assert um.mget("shop2:{u:1}:user", "shop2:{u:1}:history") == ["ann", "acts"]
            for key in ("user:1", "recmesh:{u:1}:user", "shop2:item:1"):
                assert refusal(running, "um", f"MGET {key}") == NO_KEY
            assert refusal(running, "ingest", "MGET user:1") == NO_KEY
    finally:
        running.stop()


def test_the_default_prefix_has_the_keys_of_version_0_1_0(server: SecuredRedis) -> None:
    with client(server, "ingest") as ingest, client(server, "um") as um:
        ingest.mset({"user:1": "ann", "history:1": "acts"})
        assert um.mget("user:1", "history:1") == ["ann", "acts"]
        assert ingest.unlink("user:1", "history:1") == 2


@pytest.mark.parametrize(
    ("passwords", "message"),
    [
        ({"cm": []}, "the Redis user cm needs one password, or two during a rotation, that are not empty"),
        ({"cm": [""]}, "the Redis user cm needs one password, or two during a rotation, that are not empty"),
        ({"cm": ["a", "b", "c"]}, "the Redis user cm needs one password, or two during a rotation, that are not empty"),
        ({"rank": ["a"]}, f"Redis has no user 'rank': use {', '.join(USERS)}"),
    ],
)
def test_wrong_passwords_and_users_are_refused(passwords: dict[User, list[str]], message: str) -> None:
    with pytest.raises(SettingsError) as raised:
        users_file(passwords)
    assert str(raised.value) == message


@pytest.mark.parametrize("command", ["DEBUG SLEEP 0", "FAILOVER ABORT", "CLIENT LIST", "COMMAND", "EVAL x 0"])
def test_a_reader_may_run_nothing_else(command: str, server: SecuredRedis) -> None:
    """Redis itself says what it would answer: it allows some of these commands to nobody at the moment."""
    with client(server, "tester") as tester:
        answers = [tester.execute_command("ACL DRYRUN", user, *command.split()) for user in READERS]
    assert [" ".join(answer.split()[:6]) for answer in answers] == [DENIED] * len(READERS)
