"""The processes of a mesh, found by the ports that they listen on, and their CPU time and memory."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import urlsplit

import psutil

from local.settings import PADDLE_SERVING
from recmesh.client import Targets
from recmesh.contract import ServiceName

Pids: TypeAlias = Mapping[str, int]
"""Process ids, by the names in the tables."""

GENERATOR, COMPACT = "generator", "compact"
SERVICES: tuple[ServiceName, ...] = ("um", "cm", "recall", "rank", "as")


@dataclass(frozen=True, slots=True)
class Usage:
    """Usage of a process and its children.

    Attributes:
        cpu: CPU seconds since the start.
        memory: Resident bytes now.
    """

    cpu: float
    memory: int


def find(targets: Targets, redis_url: str, milvus_uri: str, paddle_serving: str) -> dict[str, int]:
    """Find the processes of the mesh on this machine, including Paddle Serving if it runs.

    Returns:
        Process ids by name. A process with all five services is called `compact`.
    """
    owners = _listeners()
    urls: dict[str, str] = {name: f"//{targets[name]}" for name in SERVICES}
    urls |= {"redis": redis_url, "milvus": milvus_uri, PADDLE_SERVING: f"//{paddle_serving}"}
    found = {name: owners[port] for name, url in urls.items() if (port := urlsplit(url).port) in owners}
    services = {pid for name, pid in found.items() if name in SERVICES}
    if len(services) == 1 and all(name in found for name in SERVICES):
        return {COMPACT: services.pop(), **{name: pid for name, pid in found.items() if name not in SERVICES}}
    return found


def usage(pids: Pids) -> dict[str, Usage]:
    """Usage of each process so far, without processes that have ended."""
    found = {}
    for name, pid in pids.items():
        try:
            process = psutil.Process(pid)
            family = [process, *process.children(recursive=True)]
            times = [member.cpu_times() for member in family]
            memory = sum(member.memory_info().rss for member in family)
        except psutil.NoSuchProcess:
            continue
        found[name] = Usage(sum(time.user + time.system for time in times), memory)
    return found


def _listeners() -> dict[int, int]:
    """Process ids by port, of the listening TCP sockets that this user may see."""
    return {
        connection.laddr[1]: connection.pid
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.pid
    }
