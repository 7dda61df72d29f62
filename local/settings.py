"""Settings of the local runner: RECMESH_* variables with the names and defaults of the services."""

import os
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from local import short_paths
from recmesh.cli.home import CLIENT_FILE
from recmesh.contract import (
    DEFAULT_HOME,
    DEFAULT_REDIS_PREFIX,
    HTTP_PORTS,
    METRICS_PORT_OFFSET,
    MILVUS_PORT,
    PADDLE_SERVING_PORT,
    PORTS,
    REDIS_PORT,
    ServiceName,
    address,
    bare_host,
)
from recmesh.errors import SettingsError
from recmesh.tls import TlsFiles

ROOT = Path(__file__).resolve().parent.parent
"""The repository, which is the working directory of all programs."""

SERVICES: tuple[ServiceName, ...] = ("um", "cm", "recall", "rank", "as")

FEED = "feed"

PADDLE_SERVING = "paddle-serving"

PROMETHEUS = "prometheus"

CLIENT = "client"
"""The component whose certificate the commands show."""

_PROMETHEUS_PORT = 9090

_UNBROKEN = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]+")

_TLS_FILES = {"RECMESH_TLS_CERTIFICATE": "tls.crt", "RECMESH_TLS_KEY": "tls.key", "RECMESH_TLS_CA": "ca.crt"}

_LOGIN = ("USERNAME", "PASSWORD", "PASSWORD_FILE", "CA", "ROOT_PASSWORD_FILE")
_REDIS_USERS = {name: name for name in ("um", "cm", "recall", "compact", FEED, "ingest", "archive")} | {
    CLIENT: "operator"
}
_MILVUS_USERS = {"recall": "recall", "compact": "recall", "ingest": "ingest", CLIENT: "ingest"}

Mode = Literal["compact", "services"]
Backend = Literal["onnx", "paddle-serving", "auto"]
Host = Annotated[str, AfterValidator(bare_host)]
Port = Annotated[int, Field(ge=1, le=65535)]
OptionalPort = Annotated[int, Field(ge=0, le=65535)]


class LocalSettings(BaseSettings):
    """Files and addresses of the local mesh.

    Attributes:
        home: Folder for all files.
        host: Address that the services bind. Redis and Milvus are always confined to loopback.
        rank_backend: Where the ranker runs. `paddle-serving` also starts Paddle Serving.
        as_http_port: Port of `as` over HTTP; 0 means none.
        feed_http_port: The same of feed.
        metrics_port: Metrics port of the compact process. Default: the port of `as` + 10000.
        redis_prefix: What the keys of recmesh in Redis begin with.
        model_store: fsspec URL. Default: `store/` in the home.
        keep_release: Whether to use a release of the data set that another version of the code has trained.
        milvus_lite: Whether to run milvus-lite inside the processes that need it, instead of the Milvus server.
        milvus_allow_wildcard: Whether the server may listen on all interfaces if it cannot be confined to loopback.
    """

    model_config = SettingsConfigDict(env_prefix="RECMESH_", env_ignore_empty=True, extra="ignore", frozen=True)

    home: Path = Path(DEFAULT_HOME)
    host: Host = "127.0.0.1"
    um_port: Port = PORTS["um"]
    cm_port: Port = PORTS["cm"]
    recall_port: Port = PORTS["recall"]
    rank_port: Port = PORTS["rank"]
    as_port: Port = PORTS["as"]
    feed_port: Port = PORTS["feed"]
    as_http_port: OptionalPort = HTTP_PORTS["as"]
    feed_http_port: OptionalPort = HTTP_PORTS["feed"]
    paddle_serving_port: Port = PADDLE_SERVING_PORT
    rank_backend: Backend = "onnx"
    metrics_port: Port | None = None
    redis_port: Port = REDIS_PORT
    redis_prefix: str = DEFAULT_REDIS_PREFIX
    milvus_port: Port = MILVUS_PORT
    prometheus_port: Port = _PROMETHEUS_PORT
    model_store: str = ""
    keep_release: bool = False
    milvus_lite: bool = False
    milvus_allow_wildcard: bool = False

    @property
    def folder(self) -> Path:
        """The home as an absolute path."""
        return self.home.expanduser().absolute()

    @property
    def logs(self) -> Path:
        """Folder of all logs."""
        return self.folder / "logs"

    @property
    def run(self) -> Path:
        """Folder of the process manager."""
        return self.folder / "run"

    @property
    def store(self) -> str:
        """URL of the model store."""
        return self.model_store or str(self.folder / "store")

    @property
    def secrets(self) -> Path:
        """Folder of the certificates and passwords."""
        return self.folder / "secrets"

    @property
    def client_file(self) -> Path:
        """The file with the variables of clients, which `local.secrets` writes."""
        return self.folder / CLIENT_FILE

    @property
    def tls(self) -> bool:
        """Whether the mesh speaks TLS."""
        return self.client_file.exists()

    @property
    def client_tls(self) -> TlsFiles | None:
        """The certificate of the commands; None if the mesh speaks plain."""
        return TlsFiles.from_environment(self._certificate(CLIENT))

    @property
    def redis_socket(self) -> Path:
        """The socket of Redis in a mesh with TLS."""
        return short_paths.of(self.folder) / short_paths.REDIS

    @property
    def redis_users(self) -> Path:
        """The file with the users of Redis. Their passwords are in the same folder, a file for each user."""
        return self.secrets / "redis-auth" / "users.acl"

    @property
    def milvus_root(self) -> Path:
        """The file with the password of the Milvus user root. The same folder has a file for each other user."""
        return self.secrets / "milvus-auth" / "root"

    @property
    def redis_url(self) -> str:
        """URL of Redis: with TLS, a socket, which needs none."""
        if self.tls:
            return f"unix://{self.redis_socket}"
        return f"redis://127.0.0.1:{self.redis_port}/0"

    @property
    def milvus_uri(self) -> str:
        """URI of Milvus, or the file of milvus-lite."""
        if self.milvus_lite:
            return str(self.folder / "milvus" / "lite.db")
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.milvus_port}"

    @property
    def reachable_host(self) -> str:
        """Address of the services for clients on this machine."""
        wildcards = ("0.0.0.0", "::", "")  # noqa: S104  # compared, not bound
        return "127.0.0.1" if self.host in wildcards else self.host

    def port(self, service: str) -> int:
        """The gRPC port of a service, of feed or of Paddle Serving."""
        port: int = getattr(self, f"{service.replace('-', '_')}_port")
        return port

    def http_port(self, service: str) -> int:
        """The HTTP port of a service; 0 if it has none."""
        return {"as": self.as_http_port, FEED: self.feed_http_port}.get(service, 0)

    def target(self, service: str) -> str:
        """The target of a service, `host:port`."""
        return address(self.reachable_host, self.port(service))

    def metrics(self, program: str) -> int:
        """The metrics port of a program: a service, feed, `compact` or Paddle Serving."""
        if program == "compact":
            return self.metrics_port or self.as_port + METRICS_PORT_OFFSET
        return self.port(program) + METRICS_PORT_OFFSET

    def variables(self, component: str = CLIENT) -> dict[str, str]:
        """RECMESH_* variables of a program: those of the caller, and the addresses of all parts of the mesh.

        The stores of `make up` have passwords of their own, or none, and its archive is in the home. Those of the
        caller are for other stores, as are certificates; empty variables hide them.

        Args:
            component: Whose certificate and passwords it shows.
        """
        given = {name: value for name, value in os.environ.items() if name.startswith("RECMESH_")}
        given.pop("RECMESH_METRICS_PORT", None)
        prefixes = {name: f"RECMESH_{name.upper().replace('-', '_')}" for name in (*SERVICES, FEED, PADDLE_SERVING)}
        ports = {f"{prefix}_PORT": str(self.port(name)) for name, prefix in prefixes.items()}
        http = {f"{prefixes[name]}_HTTP_PORT": str(self.http_port(name)) for name in ("as", FEED)}
        targets = {f"{prefix}_TARGET": self.target(name) for name, prefix in prefixes.items()}
        places = {
            "RECMESH_HOME": str(self.folder),
            "RECMESH_HOST": self.host,
            "RECMESH_REDIS_URL": self.redis_url,
            "RECMESH_REDIS_PREFIX": self.redis_prefix,
            "RECMESH_MILVUS_URI": self.milvus_uri,
            "RECMESH_MODEL_STORE": self.store,
            "RECMESH_RANK_BACKEND": self.rank_backend,
            "RECMESH_ARCHIVE": "",
        }
        return {
            **given,
            **ports,
            **http,
            **targets,
            **places,
            **self._logins(component),
            **self._certificate(component),
        }

    def client_variables(self) -> dict[str, str]:
        """What clients of a mesh with TLS need."""
        stores = {"RECMESH_REDIS_URL": self.redis_url, "RECMESH_MILVUS_URI": self.milvus_uri}
        logins = {name: value for name, value in self._logins(CLIENT).items() if value}
        return {**self._certificate(CLIENT), **stores, **logins}

    def _logins(self, component: str) -> dict[str, str]:
        """User and password file of a component for each store. All variables are there, also those without a value."""
        users = {"REDIS": _REDIS_USERS.get(component, ""), "MILVUS": _MILVUS_USERS.get(component, "")}
        files = {"REDIS": self.redis_users, "MILVUS": self.milvus_root}
        logins = {f"RECMESH_{store}_{name}": "" for store in users for name in _LOGIN}
        for store, user in users.items() if self.tls else ():
            if user and not (store == "MILVUS" and self.milvus_lite):
                logins[f"RECMESH_{store}_USERNAME"] = user
                logins[f"RECMESH_{store}_PASSWORD_FILE"] = str(files[store].with_name(user))
        return logins

    def _certificate(self, component: str) -> dict[str, str]:
        folder = self.secrets / component
        return {name: str(folder / file) if self.tls else "" for name, file in _TLS_FILES.items()}


def load() -> LocalSettings:
    """Read the environment.

    Raises:
        SettingsError: A variable is invalid; the message names each such variable.
    """
    try:
        settings = LocalSettings()
    except ValidationError as error:
        problems = (f"RECMESH_{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors())
        raise SettingsError("; ".join(problems)) from error
    if not _UNBROKEN.fullmatch(str(settings.folder)):
        raise SettingsError(f"RECMESH_HOME {str(settings.folder)!r}: use a path in UTF-8 without control characters")
    return settings
