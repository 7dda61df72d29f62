"""Free loopback ports, for servers that take a port number and not a socket."""

import random
import socket
from collections.abc import Sequence

# Below Linux's range for outgoing connections (32768 and up), so that none of those can take the port in between.
_FIRST, _LAST = 20_000, 32_000


def hold(port: int, host: str = "127.0.0.1") -> socket.socket:
    """A socket that keeps `port` from other searchers while a server with SO_REUSEADDR can still listen there.

    Raises OSError when something listens there already.
    """
    holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((host, port))
    except OSError:
        holder.close()
        raise
    return holder


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server with SO_REUSEADDR could bind `port` now."""
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
    """`count` distinct ports that nothing binds or holds on 127.0.0.1."""
    candidates = random.SystemRandom().sample(range(_FIRST, _LAST), _LAST - _FIRST)
    found: list[int] = []
    for port in candidates:
        if port not in exclude and _unused(port):
            found.append(port)
        if len(found) == count:
            break
    return found
