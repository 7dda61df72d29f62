"""The settings of clients that a mesh of this machine has left in its home."""

import os
import shlex
from collections.abc import MutableMapping
from pathlib import Path

from recmesh.contract import DEFAULT_HOME
from recmesh.errors import SettingsError

CLIENT_FILE = "client.env"
"""A file in RECMESH_HOME with variables, one a line, quoted for a shell. `make up TLS=1` writes it."""


def adopt_settings(environment: MutableMapping[str, str] | None = None) -> None:
    """Take the settings from the home, unless the environment names another mesh or other certificates.

    Args:
        environment: The variables, which are extended; None means `os.environ`.

    Raises:
        SettingsError: The file is damaged.
    """
    env = os.environ if environment is None else environment
    if "RECMESH_TLS_CA" in env or any(name.startswith("RECMESH_") and "_TARGET" in name for name in env):
        return
    # Another store gets no password of this one.
    urls = {"RECMESH_REDIS_URL": "RECMESH_REDIS_", "RECMESH_MILVUS_URI": "RECMESH_MILVUS_"}
    others = tuple(variables for url, variables in urls.items() if url in env)
    path = Path(env.get("RECMESH_HOME") or DEFAULT_HOME).expanduser() / CLIENT_FILE
    try:
        for line in path.read_text().splitlines():
            (word,) = shlex.split(line)
            name, _, value = word.partition("=")
            if not name.startswith(others):
                env.setdefault(name, value)
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read ({error}): delete it, and run `make up TLS=1` again") from None
