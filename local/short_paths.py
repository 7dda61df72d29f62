"""A short path of a home, of plain characters: supervisord cannot quote paths, and sockets need short ones."""

import hashlib
import os
import re
import tempfile
from pathlib import Path

from recmesh.errors import SettingsError

SUPERVISOR = Path("run", "supervisor.sock")
"""The socket of supervisord in a home."""

REDIS = Path("redis", "redis.sock")
"""The socket of Redis, in a folder that only its user may enter. It is shorter."""

# The path of a socket has at most 107 bytes, and supervisord first binds it with the suffix ".<pid>".
_MAX_SOCKET_BYTES = 107 - len(".4194304")
_PLAIN = re.compile(r"[A-Za-z0-9/._+@=,-]+")


def of(home: Path) -> Path:
    """Return the home, or a link to it that `link` makes."""
    socket = home / SUPERVISOR
    if _PLAIN.fullmatch(str(home)) and len(os.fsencode(socket)) <= _MAX_SOCKET_BYTES:
        return home
    bases = (os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir(), "/tmp")  # noqa: S108  # the last resort
    base = next(Path(base) for base in bases if base and _PLAIN.fullmatch(base))
    return base / f"recmesh-{os.getuid()}" / hashlib.sha256(os.fsencode(home)).hexdigest()[:12]


def link(home: Path, plain: Path) -> None:
    """Let `plain` lead to the home."""
    home.mkdir(parents=True, exist_ok=True)
    if plain == home or (plain.is_symlink() and plain.resolve() == home.resolve()):
        return
    plain.parent.mkdir(mode=0o700, exist_ok=True)
    if plain.parent.stat().st_uid != os.getuid():
        raise SettingsError(f"{plain.parent} belongs to another user: set RECMESH_HOME to a short path without blanks")
    plain.unlink(missing_ok=True)
    plain.symlink_to(home)
