"""Free loopback ports, for servers that need a port number rather than a socket."""

import random
import socket
import urllib.request
from collections.abc import Sequence

# Below the range that Linux uses for outgoing connections (from 32768), which might otherwise take a port before the
# server does.
_FIRST, _LAST = 20_000, 32_000

direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Opens URLs on this machine, without the proxy that variables may name."""


def hold(port: int, host: str = "127.0.0.1") -> socket.socket:
    """Reserve a port.

    Returns:
        A socket that hides the port from `free_ports`, although a server with SO_REUSEADDR can still listen there.

    Raises:
        OSError: A process already listens on the port.
    """
    holder = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((host, port))
    except OSError:
        holder.close()
        raise
    return holder


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server with SO_REUSEADDR can bind the port now."""
    try:
        hold(port, host).close()
    except OSError:
        return False
    return True


def _unused(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_ports(count: int, exclude: Sequence[int] = ()) -> list[int]:
    """Find `count` distinct ports on 127.0.0.1 that are neither bound nor reserved."""
    candidates = random.SystemRandom().sample(range(_FIRST, _LAST), _LAST - _FIRST)
    found: list[int] = []
    for port in candidates:
        if port not in exclude and _unused(port):
            found.append(port)
        if len(found) == count:
            break
    return found
