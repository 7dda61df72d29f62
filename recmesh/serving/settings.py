"""Settings of the services: read from RECMESH_* variables, validated at start, and logged with secrets masked."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    SecretStr,
)
from pydantic_settings import NoDecode

from recmesh.contract import (
    DEFAULT_HOME,
    DEFAULT_MILVUS_URI,
    DEFAULT_MODEL_STORE,
    DEFAULT_REDIS_PREFIX,
    DEFAULT_REDIS_URL,
    METRICS_PORT_OFFSET,
    PORTS,
    bare_host,
    without_credentials,
)
from recmesh.errors import SettingsError
from recmesh.settings import ProcessSettings
from recmesh.stores.credentials import Credentials
from recmesh.tls import TlsFiles

MAX_PORT = 65535

Host = Annotated[str, AfterValidator(bare_host)]
Port = Annotated[int, Field(ge=1, le=MAX_PORT)]
OptionalPort = Annotated[int, Field(ge=0, le=MAX_PORT)]
Ratio = Annotated[float, Field(ge=0, le=1)]

_ORIGIN = re.compile(r"\*|https?://[^/\s,*]+")


def _origins(text: str | tuple[str, ...]) -> tuple[str, ...]:
    origins = tuple(part.strip() for part in text.split(",") if part.strip()) if isinstance(text, str) else text
    for origin in origins:
        if not _ORIGIN.fullmatch(origin):
            raise ValueError(f"{origin!r} is no origin, such as https://shop.example, and not *")
    return origins


class ServerSettings(ProcessSettings):
    """Settings of every service. Times are in seconds.

    Attributes:
        host: Address to bind; `::` means every address, IPv4 and IPv6.
        as_http_port: Port of `as` over HTTP; 0 means none.
        feed_http_port: The same of feed.
        http_origins: Origins whose pages may send requests over HTTP, such as `https://shop.example`; `*` means any.
        metrics_port: 0 means any free port; unset means the service port + 10000.
        max_in_flight: The most calls of a service that run at the same time; see `recmesh.serving.load`.
        max_bytes_in_flight: Limit for the sum of the sizes of their requests.
        default_timeout: For requests without a deadline.
        drain_delay: Between the health status NOT_SERVING and the refusal of new calls.
        drain_timeout: For the calls in flight at SIGTERM.
        connection_age: Clients must reconnect after this time, and so discover new pods.
        tls_certificate: The certificate of this process, in PEM form: servers speak TLS, and clients show it.
        tls_key: Its private key.
        tls_ca: The authorities whose certificates are trusted, on both sides.
        tls_server_name: The name to expect in the certificates of servers, instead of that in their address.
        tls_client_auth: Whether callers must have a certificate: `require`, or `none`.
        tls_accept_plain: Take plain connections as well, while the clients of an installation change to TLS.
        reflection: Whether anybody may ask for the methods and messages of the services.
        trace_ratio: Share of the requests without a trace parent that are sampled.
        trace_slow: Requests that take as long are exported even if they are not sampled.
        policy_file: Says who may call what (docs/callers.md).
        tokens_file: Names and bearer tokens of callers.
        jwks_file: The public keys of those who issue JWTs.
        jwt_issuer: The `iss` of JWTs.
        jwt_audience: What the `aud` of JWTs contains.
        audit: Whether each call is logged with its caller and the hashes of its users.
        audit_key_file: The key of these hashes.
    """

    host: Host = "127.0.0.1"
    um_port: Port = PORTS["um"]
    cm_port: Port = PORTS["cm"]
    recall_port: Port = PORTS["recall"]
    rank_port: Port = PORTS["rank"]
    as_port: Port = PORTS["as"]
    feed_port: Port = PORTS["feed"]
    as_http_port: OptionalPort = 0
    feed_http_port: OptionalPort = 0
    http_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_origins)] = ()
    metrics_port: OptionalPort | None = None
    max_in_flight: PositiveInt = 256
    max_bytes_in_flight: PositiveInt = 32 << 20
    default_timeout: PositiveFloat = 1.0
    drain_delay: NonNegativeFloat = 0.3
    drain_timeout: PositiveFloat = 10.0
    connection_age: PositiveFloat = 45.0
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_ca: Path | None = None
    tls_server_name: str = ""
    tls_client_auth: Literal["require", "none"] = "require"
    tls_accept_plain: bool = False
    reflection: bool = True
    trace_ratio: Ratio = 0.01
    trace_slow: NonNegativeFloat = 0.25

    policy_file: Path | None = None
    tokens_file: Path | None = None
    jwks_file: Path | None = None
    jwt_issuer: str = ""
    jwt_audience: str = ""
    audit: bool = False
    audit_key_file: Path | None = None

    @property
    def tls(self) -> TlsFiles | None:
        """The files of TLS; None for plain connections.

        Raises:
            SettingsError: See `TlsFiles.of`.
        """
        return TlsFiles.of(self.tls_certificate, self.tls_key, self.tls_ca, self.tls_server_name)

    def metrics_port_for(self, service_port: int) -> int:
        """The metrics port of a service that listens on `service_port`.

        Raises:
            SettingsError: The port would be above 65535.
        """
        port = service_port + METRICS_PORT_OFFSET if self.metrics_port is None else self.metrics_port
        if port > MAX_PORT:
            raise SettingsError(
                f"the metrics port {port} of service port {service_port} is above {MAX_PORT}: set RECMESH_METRICS_PORT"
            )
        return port


class RedisSettings(ServerSettings):
    """Settings of services that read Redis.

    Attributes:
        redis_password_file: File with the password.
        redis_ca: The authorities that may have issued the certificate of Redis; None means those of `tls_ca`.
        redis_prefix: What the keys of recmesh begin with.
        redis_pool: Number of connections. Calls beyond it wait until their deadline.
    """

    redis_url: str = DEFAULT_REDIS_URL
    redis_username: str = ""
    redis_password: SecretStr = SecretStr("")
    redis_password_file: Path | None = None
    redis_ca: Path | None = None
    redis_prefix: str = DEFAULT_REDIS_PREFIX
    redis_pool: PositiveInt = 16

    @property
    def redis_credentials(self) -> Credentials:
        """User, password and TLS.

        Raises:
            SettingsError: See `Credentials.of`.
        """
        password = self.redis_password.get_secret_value()
        return Credentials.of("REDIS", self.redis_username, password, self.redis_password_file, self.redis_ca, self.tls)


class MilvusSettings(ServerSettings):
    """Settings of services that search in Milvus.

    Attributes:
        milvus_password: Without a user, it is a token.
        milvus_password_file: File with the password.
        milvus_ca: The authorities that may have issued the certificate of Milvus; None means those of `tls_ca`.
    """

    milvus_uri: str = DEFAULT_MILVUS_URI
    milvus_username: str = ""
    milvus_password: SecretStr = SecretStr("")
    milvus_password_file: Path | None = None
    milvus_ca: Path | None = None

    @property
    def milvus_credentials(self) -> Credentials:
        """User, password and TLS.

        Raises:
            SettingsError: See `Credentials.of`.
        """
        password = self.milvus_password.get_secret_value()
        return Credentials.of(
            "MILVUS", self.milvus_username, password, self.milvus_password_file, self.milvus_ca, self.tls
        )


class ReleaseSettings(ServerSettings):
    """Settings of services that follow the active release.

    Attributes:
        home: Folder for downloaded releases.
        model_store: An fsspec URL.
        release_poll: Seconds between two checks for a newly active release.
    """

    home: Path = Path(DEFAULT_HOME)
    model_store: str = DEFAULT_MODEL_STORE
    release_poll: PositiveFloat = 2.0

    @property
    def releases(self) -> Path:
        """The folder into which releases are downloaded."""
        return self.home / "releases"


def printable(settings: ServerSettings) -> dict[str, object]:
    """The settings as JSON values, with secrets and the credentials in URLs masked."""
    return {name: _masked(value) for name, value in settings}


def _masked(value: object) -> object:
    if isinstance(value, SecretStr):
        return "***" if value.get_secret_value() else ""
    return without_credentials(str(value)) if isinstance(value, str | Path) else value
