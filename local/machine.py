"""Checks of the machine before anything starts: disk space and free ports."""

import importlib.util
import shutil
from collections.abc import Callable, Iterable

import psutil

from local import loopback, ports, programs
from local.settings import LocalSettings, Mode
from local.supervisor import ProcessState
from recmesh.errors import SettingsError

_MIN_DISK_BYTES = 1 << 30


def check(settings: LocalSettings, mode: Mode, running: Iterable[ProcessState]) -> None:
    """Check that the mesh can start here.

    Raises:
        SettingsError: It cannot; the message says what to do.
    """
    free = shutil.disk_usage(settings.folder).free
    if free < _MIN_DISK_BYTES:
        raise SettingsError(
            f"only {free >> 20} MiB left on the disk of {settings.folder}: free at least {_MIN_DISK_BYTES >> 20} MiB, "
            "or set RECMESH_HOME to a folder on another disk"
        )
    ours = _family(state.pid for state in running if state.pid)
    for program in (*programs.stores(settings), *programs.services(settings, mode)):
        for name, port in program.ports.items():
            host = "127.0.0.1" if program.name in programs.STORES else settings.host
            if not ports.is_free(port, host) and _holder(port) not in ours:
                raise SettingsError(_taken(name, port))


def with_milvus(settings: LocalSettings, say: Callable[[str], None]) -> LocalSettings:
    """Switch to milvus-lite if the Milvus server cannot run here or cannot be confined to loopback.

    Raises:
        SettingsError: milvus-lite is needed but not installed; the message says what to do.
    """
    if settings.milvus_lite or (_has_server() and (settings.milvus_allow_wildcard or loopback.supported())):
        return settings
    why = "cannot be confined to loopback here" if _has_server() else "does not run on this platform"
    if importlib.util.find_spec("milvus_lite") is None:
        raise SettingsError(
            f"the Milvus server {why} and milvus-lite is not installed: .venv/bin/pip install milvus-lite, "
            "or set RECMESH_MILVUS_ALLOW_WILDCARD=1 to let Milvus listen on all interfaces"
        )
    say(f"the Milvus server {why}; milvus-lite replaces it")
    return settings.model_copy(update={"milvus_lite": True})


def _has_server() -> bool:
    return importlib.util.find_spec("milvus") is not None


def _family(pids: Iterable[int]) -> set[int]:
    """Ids of processes and all their descendants."""
    family = set()
    for pid in pids:
        try:
            process = psutil.Process(pid)
            family |= {pid, *(child.pid for child in process.children(recursive=True))}
        except psutil.NoSuchProcess:
            continue
    return family


def _holder(port: int) -> int | None:
    """The process that listens on a port, if this user may see it."""
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port:
            return connection.pid
    return None


def _taken(name: str, port: int) -> str:
    pid = _holder(port)
    by = f" by {psutil.Process(pid).name()} (pid {pid})" if pid else ""
    variable = f"RECMESH_{name.upper().replace('-', '_')}_PORT"
    return f"port {port} for {name} is taken{by}: stop that process, or set {variable}"
