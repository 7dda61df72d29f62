"""Settings of the local runner: RECMESH_* variables, with the same names and defaults as in the services."""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from recmesh.errors import SettingsError

ROOT = Path(__file__).resolve().parent.parent
"""The repository: where the programs run, and where `python -m services.um` finds its package."""

SERVICES = ("um", "cm", "recall", "rank", "as")
METRICS_PORT_OFFSET = 10_000

PADDLE_SERVING = "paddle-serving"

Mode = Literal["compact", "services"]
Backend = Literal["onnx", "paddle-serving", "auto"]
Port = Annotated[int, Field(ge=1, le=65535)]


class LocalSettings(BaseSettings):
    """Where the local mesh keeps its files and where its processes listen.

    Attributes:
        home: everything that is made lives here.
        host: address that the services bind; Redis and Milvus always stay on loopback.
        rank_backend: where the ranker runs; `paddle-serving` starts Paddle Serving as well.
        metrics_port: of the compact process; unset: the port of `as` + 10000.
        model_store: fsspec URL; unset: `store/` of the home.
        keep_release: use a release of the data set even when other code has trained it.
        milvus_lite: milvus-lite inside the processes that use it, instead of the Milvus server.
        milvus_allow_wildcard: run the server on all interfaces where it cannot be kept on loopback.
    """

    model_config = SettingsConfigDict(env_prefix="RECMESH_", env_ignore_empty=True, extra="ignore", frozen=True)

    home: Path = Path(".recmesh")
    host: str = "127.0.0.1"
    um_port: Port = 8910
    cm_port: Port = 8920
    recall_port: Port = 8950
    rank_port: Port = 8960
    as_port: Port = 8930
    paddle_serving_port: Port = 8961
    rank_backend: Backend = "onnx"
    metrics_port: Port | None = None
    redis_port: Port = 6389
    milvus_port: Port = 19530
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
        return self.folder / "logs"

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def store(self) -> str:
        return self.model_store or str(self.folder / "store")

    @property
    def redis_url(self) -> str:
        return f"redis://127.0.0.1:{self.redis_port}/0"

    @property
    def milvus_uri(self) -> str:
        if self.milvus_lite:
            return str(self.folder / "milvus" / "lite.db")
        return f"http://127.0.0.1:{self.milvus_port}"

    @property
    def reachable_host(self) -> str:
        """The address by which this machine reaches the services."""
        wildcards = ("0.0.0.0", "::", "")  # noqa: S104  # compared with, not bound
        return "127.0.0.1" if self.host in wildcards else self.host

    def port(self, service: str) -> int:
        port: int = getattr(self, f"{service.replace('-', '_')}_port")
        return port

    def target(self, service: str) -> str:
        return f"{self.reachable_host}:{self.port(service)}"

    def metrics(self, program: str) -> int:
        """The Prometheus port of a program: one of the five services, `compact` or Paddle Serving."""
        if program == "compact":
            return self.metrics_port or self.as_port + METRICS_PORT_OFFSET
        return self.port(program) + METRICS_PORT_OFFSET

    def variables(self) -> dict[str, str]:
        """What every program of this mesh gets: the RECMESH_* variables of the caller, and where all parts are."""
        given = {name: value for name, value in os.environ.items() if name.startswith("RECMESH_")}
        given.pop("RECMESH_METRICS_PORT", None)
        prefixes = {name: f"RECMESH_{name.upper().replace('-', '_')}" for name in (*SERVICES, PADDLE_SERVING)}
        ports = {f"{prefix}_PORT": str(self.port(name)) for name, prefix in prefixes.items()}
        targets = {f"{prefix}_TARGET": self.target(name) for name, prefix in prefixes.items()}
        places = {
            "RECMESH_HOME": str(self.folder),
            "RECMESH_HOST": self.host,
            "RECMESH_REDIS_URL": self.redis_url,
            "RECMESH_MILVUS_URI": self.milvus_uri,
            "RECMESH_MODEL_STORE": self.store,
            "RECMESH_RANK_BACKEND": self.rank_backend,
        }
        return {**given, **ports, **targets, **places}


def load() -> LocalSettings:
    """Read the environment. Raises SettingsError that names each variable that cannot work."""
    try:
        return LocalSettings()
    except ValidationError as error:
        problems = (f"RECMESH_{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors())
        raise SettingsError("; ".join(problems)) from error
