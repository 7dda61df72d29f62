"""The bearer token that clients show: from the caller, or from RECMESH_TOKEN or RECMESH_TOKEN_FILE."""

import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

from recmesh.errors import SettingsError
from recmesh.tls import fingerprint

Token: TypeAlias = Callable[[], str]
"""Returns the token of the next call."""

_PRINTABLE = re.compile(r"[!-~]+")
_LOOPBACK = re.compile(r"localhost|127\.\d+\.\d+\.\d+|::1|0:0:0:0:0:0:0:1")


def token_of(given: str | Token | None = None, environment: Mapping[str, str] | None = None) -> Token | None:
    """What returns the token of a client; None if it has none.

    Args:
        given: The token, or what returns it. None: RECMESH_TOKEN, or the file that RECMESH_TOKEN_FILE names.
        environment: The variables; None means `os.environ`.

    Raises:
        SettingsError: Both variables are set, the file cannot be read, or the token cannot be sent.
    """
    if callable(given):
        source = given
        return lambda: _checked(source(), "the token")
    if given is not None:
        token = _checked(given, "the token")
        return lambda: token
    env = os.environ if environment is None else environment
    text, path = env.get("RECMESH_TOKEN", ""), env.get("RECMESH_TOKEN_FILE", "")
    if text and path:
        raise SettingsError("RECMESH_TOKEN and RECMESH_TOKEN_FILE are both set: unset one of them")
    if path:
        return _File(Path(path))
    return token_of(_checked(text, "RECMESH_TOKEN")) if text else None


def check_private(target: str, encrypted: bool) -> None:
    """Check that a token may be sent to a target.

    Args:
        target: A gRPC target, or `host:port`.
        encrypted: Whether the connection uses TLS.

    Raises:
        SettingsError: It does not, and the target is another machine.
    """
    if not (encrypted or is_loopback(target)):
        raise SettingsError(
            f"{target}: the token would be sent in plain text: set RECMESH_TLS_CA, or unset RECMESH_TOKEN and "
            "RECMESH_TOKEN_FILE"
        )


def is_loopback(target: str) -> bool:
    """Whether a gRPC target, or `host:port`, is on this machine whatever a name server says.

    Example:
        >>> is_loopback("dns:///localhost:8930"), is_loopback("as:8930")
        (True, False)
    """
    if target.startswith("unix:"):
        return True
    addresses = re.sub(r"^(?:dns|ipv4|ipv6):(?://[^/]*/)?", "", target).split(",")
    return all(_LOOPBACK.fullmatch(_host(address)) for address in addresses)


def _host(address: str) -> str:
    try:
        return urlsplit(f"//{address}").hostname or ""
    except ValueError:
        return ""


class _File:
    """The token in a file, which is read again when it changes."""

    def __init__(self, path: Path) -> None:
        """Read the file."""
        self._path = path
        self._seen = fingerprint(path)
        self._token = self._read()

    def __call__(self) -> str:
        """The token. A file that is gone or empty for a moment leaves the former one in force."""
        seen = fingerprint(self._path)
        if seen != self._seen and seen is not None:
            with suppress(SettingsError):
                self._token, self._seen = self._read(), seen
        return self._token

    def _read(self) -> str:
        place = f"RECMESH_TOKEN_FILE {self._path}"
        try:
            return _checked(self._path.read_bytes().decode("latin-1").strip(), place)
        except OSError as error:
            raise SettingsError(f"{place} cannot be read: {error.strerror}") from None


def _checked(token: str, place: str) -> str:
    if not _PRINTABLE.fullmatch(token):
        raise SettingsError(f"{place}: must be printable ASCII characters without spaces")
    return token
