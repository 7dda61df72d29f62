"""The errors of Redis' client as errors of recmesh."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import redis

from recmesh.contract import without_credentials
from recmesh.errors import SettingsError, Unavailable
from recmesh.stores.credentials import refused, tls_advice

NO_FREE_CONNECTION = "no free connection in time; increase RECMESH_REDIS_POOL or add replicas"

NOT_CONNECTED = "Timeout connecting to server"
"""redis-py's message for a server that does not accept a connection, or does not answer the handshake of TLS."""

_CLOSED = ("Connection closed by server", "Connection lost", "reset by peer", "Broken pipe", "EOF occurred")


@contextmanager
def settings_errors(url: str) -> Iterator[None]:
    """Raise SettingsError if a client refuses a URL during the block."""
    try:
        yield
    except ValueError as error:
        raise SettingsError(f"RECMESH_REDIS_URL {without_credentials(url)}: {error}") from error


@contextmanager
def store_errors(url: str) -> Iterator[None]:
    """Raise Unavailable if Redis fails during the block, or refuses a command. `url` has no credentials."""
    try:
        yield
    except (redis.RedisError, OSError, asyncio.TimeoutError) as error:
        cause = _without_arguments(error)
        advice = _advice(url, cause)
        text = str(cause).rstrip(".") if advice else str(cause)
        raise Unavailable(f"Redis {url}: {type(cause).__name__}: {text}{advice}") from cause


def _advice(url: str, error: Exception) -> str:
    if isinstance(error, redis.AuthenticationError):
        return f"; {refused('REDIS')}"
    if isinstance(error, redis.exceptions.NoPermissionError):
        return "; set RECMESH_REDIS_USERNAME to the user of this service or job, and give it the rules of this version"
    text = str(error)
    if advice := tls_advice("REDIS", text):
        return advice
    closed, encrypted = any(part in text for part in _CLOSED), url.startswith("rediss://")
    if encrypted and text == NOT_CONNECTED:
        return "; if it speaks no TLS, use redis://"
    if encrypted and closed:
        return "; if it asks for a certificate, set RECMESH_TLS_CERTIFICATE and RECMESH_TLS_KEY"
    return "; if it speaks TLS, use rediss://" if closed and url.startswith("redis://") else ""


def _without_arguments(error: Exception) -> Exception:
    """An error without the arguments of a command that Redis does not know: where AUTH is renamed, it quotes them."""
    message, quoted, _ = str(error).partition(", with args")
    return type(error)(message) if quoted else error
