"""Redis of `make up TLS=1`: a socket, users of a file, and changes of the file."""

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis

from recmesh.stores.acl import users_file
from tests.servers import ROOT, Server, spawn, wait_until


class SocketRedis(Server):
    """A running Redis."""

    folder: Path

    @property
    def socket(self) -> Path:
        return self.folder / "data" / "redis.sock"

    def set_users(self, lines: str) -> None:
        new = self.folder / "new"
        new.write_text(lines)
        new.replace(self.folder / "users.acl")

    def login(self, user: str, password: str, one: bool = False) -> "redis.Redis":
        """A client, with a single connection if `one`."""
        return redis.Redis(
            unix_socket_path=str(self.socket),
            protocol=2,
            username=user,
            password=password,
            single_connection_client=one,
        )

    def accepts(self, user: str, password: str) -> bool:
        try:
            with self.login(user, password) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


def start(folder: Path, lines: str) -> SocketRedis:
    (folder / "users.acl").write_text(lines)
    words = {"data": folder / "data", "socket": folder / "data" / "redis.sock", "users": folder / "users.acl"}
    command = [
        sys.executable,
        "-m",
        "local.redis",
        *(w for name, path in words.items() for w in (f"--{name}", str(path))),
    ]
    log = folder / "redis.log"
    server = SocketRedis(spawn(command, log), log)
    server.folder = folder
    return server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SocketRedis]:
    running = start(tmp_path, users_file({"um": ["first"], "operator": ["operator"]}))
    try:
        wait_until(lambda: running.accepts("um", "first"), running, "Redis")
        yield running
    finally:
        running.stop()


def test_only_a_user_gets_in_and_there_is_no_port(server: SocketRedis) -> None:
    assert not server.accepts("", "")
    assert not server.accepts("default", "default")
    assert not server.accepts("um", "second")
    with server.login("operator", "operator") as client, pytest.raises(redis.exceptions.NoPermissionError):
        client.flushall()
    assert [each for each in psutil.Process(server.pid).net_connections("inet") if each.status == "LISTEN"] == []
    assert stat.S_IMODE((server.folder / "data").stat().st_mode) == 0o700
    assert stat.S_IMODE(server.socket.stat().st_mode) == 0o700


def test_users_change_and_connections_stay(server: SocketRedis) -> None:
    kept = server.login("um", "first", one=True)
    kept.ping()
    server.set_users(users_file({"um": ["second"]}))
    wait_until(lambda: server.accepts("um", "second"), server, "Redis")
    wait_until(lambda: not server.accepts("operator", "operator"), server, "Redis")

    assert not server.accepts("um", "first")
    assert kept.ping()


def test_a_damaged_file_changes_nothing(server: SocketRedis) -> None:
    server.set_users("nothing\n")
    wait_until(lambda: "has no users of Redis" in server.log.read_text(), server, "Redis")
    assert server.accepts("um", "first")
    server.set_users(users_file({"um": ["second"]}))
    wait_until(lambda: server.accepts("um", "second"), server, "Redis")


def test_data_survive_a_restart_and_no_process_is_left(tmp_path: Path, server: SocketRedis) -> None:
    with server.login("operator", "operator") as client:
        client.set("recmesh:item:1", "one")
    processes = [psutil.Process(server.pid), *psutil.Process(server.pid).children()]
    assert len(processes) == 2
    os.kill(server.pid, signal.SIGTERM)
    server.process.wait()
    assert psutil.wait_procs(processes[1:], timeout=20)[1] == []

    again = start(tmp_path, users_file({"operator": ["operator"]}))
    try:
        wait_until(lambda: again.accepts("operator", "operator"), again, "Redis")
        with again.login("operator", "operator") as client:
            assert client.get("recmesh:item:1") == b"one"
    finally:
        again.stop()


def test_no_argument_shows_a_hash(server: SocketRedis) -> None:
    shown = " ".join(psutil.Process(server.pid).cmdline())
    assert str(server.socket) in shown
    assert "#" not in shown


@pytest.mark.parametrize("content", [None, "", "user default off\n"])
def test_a_file_without_users_is_an_error(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "users.acl").write_text(content)
    words = ["--data", str(tmp_path / "data"), "--socket", "s", "--users", str(tmp_path / "users.acl")]
    command = [sys.executable, "-m", "local.redis", *words]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
    assert ended.stderr.rstrip().endswith("run `make up TLS=1`")
