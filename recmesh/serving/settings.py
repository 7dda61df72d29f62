"""Settings of the services: read from RECMESH_* variables, checked at start, printed once with secrets masked."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from recmesh.errors import SettingsError

METRICS_PORT_OFFSET = 10_000

Port = Annotated[int, Field(ge=1, le=65535)]
Ratio = Annotated[float, Field(ge=0, le=1)]
S = TypeVar("S", bound="ServerSettings")


class ServerSettings(BaseSettings):
    """What every service has. Times are in seconds.

    Attributes:
        metrics_port: 0: any free port; unset: the service port + 10000.
        default_timeout: for requests that come without a deadline.
        drain_delay: between NOT_SERVING and the refusal of new calls.
        drain_timeout: for the calls in flight at SIGTERM.
        connection_age: after it a client must reconnect, which is how it finds new pods.
        trace_ratio: share of requests without a trace parent that are sampled.
    """

    model_config = SettingsConfigDict(env_prefix="RECMESH_", env_ignore_empty=True, extra="ignore", frozen=True)

    host: str = "127.0.0.1"
    um_port: Port = 8910
    cm_port: Port = 8920
    recall_port: Port = 8950
    rank_port: Port = 8960
    as_port: Port = 8930
    metrics_port: Annotated[int, Field(ge=0, le=65535)] | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    max_in_flight: PositiveInt = 256
    default_timeout: PositiveFloat = 1.0
    drain_delay: NonNegativeFloat = 0.3
    drain_timeout: PositiveFloat = 10.0
    connection_age: PositiveFloat = 45.0
    otlp_endpoint: str = ""
    trace_ratio: Ratio = 0.01

    def metrics_port_for(self, service_port: int) -> int:
        """The side port of a service that listens on `service_port`."""
        port = service_port + METRICS_PORT_OFFSET if self.metrics_port is None else self.metrics_port
        if port > 65535:
            raise SettingsError(f"service port {service_port} leaves no metrics port {port}: set RECMESH_METRICS_PORT")
        return port


class RedisSettings(ServerSettings):
    """Of services that read Redis. `redis_pool`: connections; calls beyond them wait within their deadline."""

    redis_url: str = "redis://127.0.0.1:6389/0"
    redis_pool: PositiveInt = 16


class ReleaseSettings(ServerSettings):
    """Of services that follow the active release. `release_poll`: seconds between two looks at it."""

    home: Path = Path(".recmesh")
    model_store: str = ".recmesh/store"
    release_poll: PositiveFloat = 2.0

    @property
    def releases(self) -> Path:
        """Where releases are fetched to."""
        return self.home / "releases"


def load_settings(cls: type[S]) -> S:
    """Read `cls` from the environment.

    Raises:
        SettingsError: a value cannot work; the message names each variable.
    """
    try:
        return cls()
    except ValidationError as error:
        problems = (f"RECMESH_{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors())
        raise SettingsError("; ".join(problems)) from error


def printable(settings: ServerSettings) -> dict[str, Any]:
    """The settings as JSON values, with passwords in URLs and secret values masked."""
    return {name: _masked(value) for name, value in settings}


def _masked(value: object) -> object:
    if isinstance(value, SecretStr):
        return "***"
    if isinstance(value, str | Path):
        return re.sub(r"://[^@/]*@", "://***@", str(value))
    return value
