"""What the machine must offer before anything starts: room on the disk, free ports."""

import importlib.util
import shutil
from collections.abc import Callable, Iterable

import psutil

from local import loopback, ports, programs
from local.settings import LocalSettings, Mode
from local.supervisor import ProcessState
from recmesh.errors import SettingsError

_LEAST_DISK = 1 << 30


def check(settings: LocalSettings, mode: Mode, running: Iterable[ProcessState]) -> None:
    """Raises SettingsError that says what to do when the mesh cannot start here."""
    free = shutil.disk_usage(settings.folder).free
    if free < _LEAST_DISK:
        raise SettingsError(
            f"only {free >> 20} MiB left on the disk of {settings.folder}: free at least {_LEAST_DISK >> 20} MiB, "
            "or set RECMESH_HOME to a folder on another disk"
        )
    ours = _family(state.pid for state in running if state.pid)
    for program in (*programs.stores(settings), *programs.services(settings, mode)):
        for name, port in program.ports.items():
            host = "127.0.0.1" if program.name in programs.STORES else settings.host
            if not ports.is_free(port, host) and _holder(port) not in ours:
                raise SettingsError(_taken(name, port))


def with_milvus(settings: LocalSettings, say: Callable[[str], None]) -> LocalSettings:
    """The settings, changed to milvus-lite where the Milvus server does not run or cannot be kept on loopback.

    Raises SettingsError that says what to do where there is no milvus-lite either.
    """
    if settings.milvus_lite or (_has_server() and (settings.milvus_allow_wildcard or loopback.supported())):
        return settings
    why = "cannot be kept on loopback here" if _has_server() else "does not run on this platform"
    if importlib.util.find_spec("milvus_lite") is None:
        raise SettingsError(
            f"the Milvus server {why} and milvus-lite is not installed: .venv/bin/pip install milvus-lite, "
            "or set RECMESH_MILVUS_ALLOW_WILDCARD=1 to let Milvus listen on all interfaces"
        )
    say(f"the Milvus server {why}: milvus-lite takes its place")
    return settings.model_copy(update={"milvus_lite": True})


def _has_server() -> bool:
    return importlib.util.find_spec("milvus") is not None


def _family(pids: Iterable[int]) -> set[int]:
    """Processes with all their descendants."""
    family = set()
    for pid in pids:
        try:
            process = psutil.Process(pid)
            family |= {pid, *(child.pid for child in process.children(recursive=True))}
        except psutil.NoSuchProcess:
            continue
    return family


def _holder(port: int) -> int | None:
    """The process that listens on a port, where this user may know it."""
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port:
            return connection.pid
    return None


def _taken(name: str, port: int) -> str:
    pid = _holder(port)
    by = f" by {psutil.Process(pid).name()} (pid {pid})" if pid else ""
    variable = f"RECMESH_{name.upper().replace('-', '_')}_PORT"
    return f"port {port} for {name} is taken{by}: stop what listens there, or set {variable}"
