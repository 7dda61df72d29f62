"""The errors of Redis' client as errors of recmesh."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import redis

from recmesh.contract import without_credentials
from recmesh.errors import SettingsError, Unavailable
from recmesh.stores.credentials import refused

NO_FREE_CONNECTION = "no free connection in time; increase RECMESH_REDIS_POOL or add replicas"


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
        advice = f"; {refused('REDIS')}" if isinstance(cause, redis.AuthenticationError) else ""
        text = str(cause).rstrip(".") if advice else str(cause)
        raise Unavailable(f"Redis {url}: {type(cause).__name__}: {text}{advice}") from cause


def _without_arguments(error: Exception) -> Exception:
    """An error without the arguments of a command that Redis does not know: where AUTH is renamed, it quotes them."""
    message, quoted, _ = str(error).partition(", with args")
    return type(error)(message) if quoted else error
