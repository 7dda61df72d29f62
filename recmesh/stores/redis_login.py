"""How clients of redis-py log in, and connect over TLS, with files that are read again for new connections."""

import logging
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import redis
import redis.asyncio
from redis.asyncio.connection import RedisSSLContext, SSLConnection
from redis.credentials import CredentialProvider

from recmesh.stores.credentials import Credentials, Passwords, login
from recmesh.tls import fingerprint

log = logging.getLogger(__name__)


class _Login(CredentialProvider):
    """Gives redis-py the user and the password for each new connection."""

    def __init__(self, credentials: Credentials) -> None:
        self._username = credentials.username
        self.passwords = Passwords(credentials)

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        password = self.passwords.current()
        return (self._username, password) if self._username else (password,)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        return self.get_credentials()

    def log_in(self, connection: Any) -> None:
        """Log in on a new connection, if need be with the other password."""
        password = self.passwords.current()
        try:
            connection.on_connect()
        except redis.AuthenticationError:
            if not self.passwords.refused(password):
                raise
            connection.on_connect()

    async def log_in_async(self, connection: Any) -> None:
        """Do the same within an event loop."""
        password = self.passwords.current()
        try:
            await connection.on_connect()
        except redis.AuthenticationError:
            if not self.passwords.refused(password):
                raise
            await connection.on_connect()


def options(url: str, credentials: Credentials, *, asynchronous: bool) -> dict[str, Any]:
    """Return what `from_url` of redis-py takes besides the URL.

    Args:
        url: The URL of Redis. Its own options win.
        credentials: User, password and TLS.
        asynchronous: Whether it is a client within an event loop.

    Raises:
        SettingsError: If the URL is invalid, or has credentials although others are given.
    """
    login("REDIS", url, credentials)
    # redis-py would tell Redis its version, which Redis before 7.2 does not know.
    made: dict[str, Any] = {"protocol": 2, "driver_info": None}
    if credentials:
        provider = _Login(credentials)
        made["credential_provider"] = provider
        made["redis_connect_func"] = provider.log_in_async if asynchronous else provider.log_in
    if credentials.tls and urlsplit(url).scheme == "rediss":
        files = credentials.tls
        made |= {"ssl_ca_certs": str(files.ca), "ssl_min_version": ssl.TLSVersion.TLSv1_2}
        if files.certificate and files.key:
            made |= {"ssl_certfile": str(files.certificate), "ssl_keyfile": str(files.key)}
    return made


def read_certificates_again(pool: redis.asyncio.ConnectionPool) -> None:
    """Let new connections of a pool use new certificates. redis-py's blocking connections do."""
    if pool.connection_class is SSLConnection:
        pool.connection_class = _RenewingConnection
        pool.connection_kwargs["contexts"] = _Contexts()


class _Contexts:
    """The context of TLS that the connections of a pool share. To make one takes up to 50 ms."""

    def __init__(self) -> None:
        self._context: RedisSSLContext | None = None
        self._state: tuple[object, ...] = ()

    def latest(self, own: RedisSSLContext) -> RedisSSLContext:
        """Return the shared context, made by the options of `own` if the files have changed."""
        state = tuple(path and fingerprint(Path(path)) for path in (own.ca_certs, own.certfile, own.keyfile))
        if self._context is None or state != self._state:
            try:
                own.context = None
                own.get()
            except OSError as error:  # among them those of ssl
                if self._context is None:
                    raise
                log.warning("certificates for Redis have changed and cannot be used; the former ones stay: %s", error)
            else:
                self._context = own
            self._state = state
        return self._context


class _RenewingConnection(SSLConnection):
    def __init__(self, *, contexts: _Contexts, **options: Any) -> None:
        super().__init__(**options)
        self._contexts = contexts

    def _connection_arguments(self) -> Any:
        self.ssl_context = self._contexts.latest(self.ssl_context)
        return super()._connection_arguments()
