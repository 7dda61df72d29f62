"""Certificates and passwords of `make up TLS=1`: files in the home, made and rotated as in Kubernetes.

`HOME/secrets/ca` has the CA, `HOME/secrets/<component>` the certificate of a component. `HOME/client.env` has the
variables of clients; as long as it exists, the mesh speaks TLS.
"""

import os
import shlex
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import cast

from local.settings import CLIENT, FEED, PADDLE_SERVING, PROMETHEUS, SERVICES, LocalSettings
from recmesh.issuing import Change, Found, Identity, RenderAcl, Rotation, Spec, Stored, run
from recmesh.issuing.spec import MilvusUsers, RedisUsers
from recmesh.stores.acl import USERS, users_file

_RELEASE, _NAMESPACE, _TRUST_DOMAIN = "recmesh", "local", "cluster.local"
_SERVERS = (*SERVICES, FEED, "compact", PADDLE_SERVING, "explorer", "redis", "milvus")
_CLIENTS = ("ingest", "archive", "train", CLIENT, PROMETHEUS)
_MILVUS_USERS = ("root", "recall", "ingest")
_ACL = cast(RenderAcl, users_file)
_TLS = "-tls"

# All processes look at their files once a second, and again for each new connection.
_SETTLE_SECONDS = 30


class Files:
    """A folder as the store of certificates and passwords: a folder for each name, a file for each key.

    Only one process writes at a time: `make up` holds a lock.
    """

    def __init__(self, folder: Path) -> None:
        """Use a folder, which need not exist, in one that does."""
        self._folder = folder

    def read(self, names: Sequence[str]) -> Found:
        """What is there under these names."""
        return {name: Stored(self._data(name)) for name in names if self._place(name).is_dir()}

    def write(self, change: Change, before: Stored | None) -> None:
        """Replace the files that differ, each at once. A process that sees some of them keeps what it has."""
        place = self._place(change.name)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        place.mkdir(mode=0o700, exist_ok=True)
        present = dict(before.data) if before else {}
        for key, content in change.data.items():
            if present.pop(key, None) != content:
                _replace(place / key, content)
        for key in present:
            (place / key).unlink()

    def _data(self, name: str) -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in self._place(name).iterdir() if not file.name.startswith(".")}

    def _place(self, name: str) -> Path:
        return self._folder / name.removesuffix(_TLS)


def switch_on(settings: LocalSettings, say: Callable[[str], None]) -> None:
    """Make what is missing, renew what ends soon, and let the mesh and its commands use it."""
    update(settings, say)
    _replace(settings.client_file, b"")  # from here on, the settings are those of a mesh with TLS
    lines = (f"{name}={shlex.quote(value)}\n" for name, value in settings.client_variables().items())
    _replace(settings.client_file, "".join(lines).encode())


def switch_off(settings: LocalSettings) -> None:
    """Let the mesh and its commands use plain connections. Certificates and passwords stay for the next time."""
    settings.client_file.unlink(missing_ok=True)


def update(settings: LocalSettings, say: Callable[[str], None], rotate: Rotation | None = None) -> None:
    """Make what is missing, renew what ends soon, and go on with rotations.

    Args:
        settings: Of the mesh.
        say: Prints a line.
        rotate: What to rotate although it is not due.

    Raises:
        SettingsError: The CA on disk is damaged.
    """
    store = Files(settings.secrets)
    run(_spec(settings), store, lambda: datetime.now(timezone.utc), _ACL, say, rotate)


def _spec(settings: LocalSettings) -> Spec:
    servers = {name: Identity(dns=(settings.reachable_host,), uri=_uri(name)) for name in _SERVERS}
    clients = {name: Identity(uri=_uri(name)) for name in _CLIENTS}
    return Spec(
        release=_RELEASE,
        namespace=_NAMESPACE,
        trust_domain=_TRUST_DOMAIN,
        certificates={**servers, **clients},
        redis=RedisUsers(users=USERS, prefix=settings.redis_prefix),
        milvus=MilvusUsers(users=_MILVUS_USERS),
        settle_seconds=_SETTLE_SECONDS,
    )


def _uri(component: str) -> str:
    return f"spiffe://{_TRUST_DOMAIN}/ns/{_NAMESPACE}/release/{_RELEASE}/{component}"


def _replace(path: Path, content: bytes) -> None:
    new = path.with_name(f".{path.name}")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:  # noqa: PTH123
        file.write(content)
    new.replace(path)
