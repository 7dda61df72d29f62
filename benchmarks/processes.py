"""The processes of a mesh, found by the ports they listen on; their CPU time and memory."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import urlsplit

import psutil

from local.settings import PADDLE_SERVING
from recmesh.client import Targets
from recmesh.contract import ServiceName

Pids: TypeAlias = Mapping[str, int]
"""Process ids by the name that tables use."""

GENERATOR, COMPACT = "generator", "compact"
SERVICES: tuple[ServiceName, ...] = ("um", "cm", "recall", "rank", "as")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process and its children used since their start: CPU seconds, and resident bytes now."""

    cpu: float
    memory: int


def find(targets: Targets, redis_url: str, milvus_uri: str, paddle_serving: str) -> dict[str, int]:
    """Processes of this machine that serve the mesh, and Paddle Serving where that runs at its target. Five services in
    one process are called `compact`."""
    owners = _listeners()
    urls: dict[str, str] = {name: f"//{targets[name]}" for name in SERVICES}
    urls |= {"redis": redis_url, "milvus": milvus_uri, PADDLE_SERVING: f"//{paddle_serving}"}
    found = {name: owners[port] for name, url in urls.items() if (port := urlsplit(url).port) in owners}
    services = {pid for name, pid in found.items() if name in SERVICES}
    if len(services) == 1 and all(name in found for name in SERVICES):
        return {COMPACT: services.pop(), **{name: pid for name, pid in found.items() if name not in SERVICES}}
    return found


def usage(pids: Pids) -> dict[str, Usage]:
    """What each of the processes has used so far; one that is gone is left out."""
    found = {}
    for name, pid in pids.items():
        try:
            process = psutil.Process(pid)
            family = [process, *process.children(recursive=True)]
            times = [one.cpu_times() for one in family]
            memory = sum(one.memory_info().rss for one in family)
        except psutil.NoSuchProcess:
            continue
        found[name] = Usage(sum(time.user + time.system for time in times), memory)
    return found


def _listeners() -> dict[int, int]:
    """Port -> process id, of the TCP sockets that this user may look at."""
    return {
        connection.laddr[1]: connection.pid
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.pid
    }
