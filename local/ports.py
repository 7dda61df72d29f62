"""Free loopback ports, for servers that need a port number rather than a socket."""

import random
import socket
import urllib.request
from collections.abc import Sequence

# Below the range that Linux uses for outgoing connections, which might otherwise take a port before the server does.
# The ports from 30,000 are left for `offset`.
_FIRST, _LAST, _OUTGOING = 20_000, 30_000, 32_768

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


def free_ports(count: int, exclude: Sequence[int] = (), offset: int = 0) -> list[int]:
    """Find `count` distinct ports on 127.0.0.1 that are neither bound nor reserved.

    Args:
        count: How many.
        exclude: Ports that are not wanted.
        offset: The port at this distance above each of them must be free as well: the metrics port of a service.
    """
    last = min(_LAST, _OUTGOING - offset)
    candidates = random.SystemRandom().sample(range(_FIRST, last), last - _FIRST)
    found: list[int] = []
    for port in candidates:
        if port not in exclude and _unused(port) and _unused(port + offset):
            found.append(port)
        if len(found) == count:
            break
    return found
