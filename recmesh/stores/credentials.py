"""User, password and TLS of Redis and Milvus: from settings of their own, or from the URL.

In a URL, some characters have to be escaped. If they are not, a part of the password is taken for a port or a path.
Therefore no error of this module quotes a URL. No command has an option for a password, because `ps` would show it.
"""

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from recmesh.errors import SettingsError
from recmesh.throttle import LogThrottle
from recmesh.tls import TlsFiles

Store: TypeAlias = Literal["REDIS", "MILVUS"]
"""A store, as the names of its settings spell it."""

_URL_SETTINGS: dict[Store, str] = {"REDIS": "RECMESH_REDIS_URL", "MILVUS": "RECMESH_MILVUS_URI"}
_SCHEMES: dict[Store, tuple[str, ...]] = {"REDIS": ("redis", "rediss", "unix"), "MILVUS": ("http", "https", "tcp")}
_FORMS: dict[Store, str] = {
    "REDIS": "redis://host:port/db, rediss://host:port/db or unix:///path",
    "MILVUS": "http://host:port, https://host:port, or the path of a .db file for milvus-lite",
}


_LOOK_SECONDS = 1.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Credentials:
    """What a client shows to a store. User and password may hold any character.

    Attributes:
        username: Empty for the default user.
        password: Empty for none.
        password_file: Holds the password, which `Passwords` reads again.
        tls: The authorities that a store with TLS is trusted by, and the client's certificate; None for the authorities
            of the system, and no certificate.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    password_file: Path | None = field(default=None, compare=False)
    tls: TlsFiles | None = None

    def __bool__(self) -> bool:
        return bool(self.username or self.password)

    @classmethod
    def of(
        cls,
        store: Store,
        username: str,
        password: str,
        password_file: Path | None,
        ca: Path | None = None,
        tls: TlsFiles | None = None,
    ) -> "Credentials":
        """Return the credentials that settings give.

        Args:
            store: Whose settings they are.
            username: RECMESH_<store>_USERNAME.
            password: RECMESH_<store>_PASSWORD.
            password_file: RECMESH_<store>_PASSWORD_FILE. Line breaks at its end do not belong to the password.
            ca: RECMESH_<store>_CA.
            tls: The files of TLS of this process.

        Raises:
            SettingsError: Both a password and a file are given, the file cannot be read or is empty, or a value is not
                UTF-8, or the file of authorities cannot be read.
        """
        name = f"RECMESH_{store}_PASSWORD"
        if password and password_file:
            raise SettingsError(f"{name} and {name}_FILE are both set: unset one of them")
        if password_file:
            password = read_password(f"{name}_FILE {password_file}", password_file)
        for setting, value in ((f"RECMESH_{store}_USERNAME", username), (name, password)):
            # The environment's bytes that are not UTF-8 become surrogates.
            if any("\ud800" <= character <= "\udfff" for character in value):
                raise SettingsError(f"{setting} is not UTF-8: change its encoding")
        return cls(username, password, password_file, _tls_of(store, ca, tls))

    @classmethod
    def from_environment(cls, store: Store, environment: Mapping[str, str] = os.environ) -> "Credentials":
        """Return the credentials that environment variables give: see `of`."""
        username, password, file = (
            environment.get(f"RECMESH_{store}_{name}", "") for name in ("USERNAME", "PASSWORD", "PASSWORD_FILE")
        )
        ca = environment.get(f"RECMESH_{store}_CA")
        tls = TlsFiles.from_environment(environment)
        return cls.of(store, username, password, Path(file) if file else None, Path(ca) if ca else None, tls)


NO_CREDENTIALS = Credentials()


class Passwords:
    """The password of a store, read again when its file changes, and the one before.

    While a password is being changed, a store may know the new one earlier or later than this process. A client whose
    password was refused therefore tries the other one.
    """

    def __init__(self, credentials: Credentials, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with the password of credentials.

        Args:
            credentials: With a file, or without one, so that the password stays.
            clock: Monotonic time in seconds. `current` looks at the file once a second at most.
        """
        self._file = credentials.password_file
        self._clock = clock
        self._newest = self._password = credentials.password
        self._other = ""
        self._next_look = clock() + _LOOK_SECONDS
        self._faults = LogThrottle(clock=clock)

    def current(self) -> str:
        """Return the password to send."""
        if self._file and self._clock() >= self._next_look:
            self._look(self._file)
        return self._password

    def refused(self, password: str) -> bool:
        """Take note that the store does not accept a password. Returns whether `current` is another one now."""
        if self._file:
            self._look(self._file)
        if password == self._password and self._other:
            self._password, self._other = self._other, self._password
        return self._password != password

    def _look(self, file: Path) -> None:
        self._next_look = self._clock() + _LOOK_SECONDS
        try:
            newest = read_password(str(file), file)
        except SettingsError as error:
            if line := self._faults.due(reason=str(error)):
                log.warning("the password stays as it was: %s", error)
            return
        if line := self._faults.over():
            log.warning("%s can be read again, after %.0f s", file, line.seconds)
        if newest != self._newest:
            self._other, self._password, self._newest = self._password, newest, newest


def login(store: Store, url: str, given: Credentials) -> Credentials:
    """Return the given credentials, or those in a URL if none are given.

    Raises:
        SettingsError: The URL is invalid, or both give credentials.
    """
    parts = split_url(store, url)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    username, password = (
        unquote(part) if part else query.get(name, "")
        for name, part in (("username", parts.username), ("password", parts.password))
    )
    in_url = Credentials(username, password, tls=given.tls)
    if given and in_url:
        raise SettingsError(
            f"{_URL_SETTINGS[store]} has a user or a password, and RECMESH_{store}_USERNAME or _PASSWORD is set as "
            "well: remove them from the URL"
        )
    return given or in_url


def split_url(store: Store, url: str) -> SplitResult:
    """Split the URL of a store.

    Raises:
        SettingsError: The URL is invalid.
    """
    setting = _URL_SETTINGS[store]
    try:
        parts = urlsplit(url)
        valid = parts.scheme in _SCHEMES[store] and (parts.port is None or parts.port > 0)
    except ValueError:
        valid = False
    if not valid:
        raise SettingsError(f"{setting} must be {_FORMS[store]}; {_advice(store)}")
    if parts.netloc and "@" in f"{parts.path}{parts.query}{parts.fragment}":
        raise SettingsError(f"{setting} has an @ after the address: write it as %40; {_advice(store)}")
    return parts


def refused(store: Store) -> str:
    """Return what to do if a store does not accept the credentials."""
    name = f"RECMESH_{store}_PASSWORD"
    return f"check RECMESH_{store}_USERNAME and {name} or {name}_FILE"


_TLS_ADVICE = {
    "certificate has expired": "renew the certificate of the store",
    "mismatch": "connect to a name that is in the certificate of the store",
    "not valid for": "connect to a name that is in the certificate of the store",
    "certificate_verify_failed": "set RECMESH_{store}_CA to the authority that has issued the certificate of the store",
    "certificate verify failed": "set RECMESH_{store}_CA to the authority that has issued the certificate of the store",
    "unwrap failed": "set RECMESH_TLS_CERTIFICATE and RECMESH_TLS_KEY to a certificate that the store accepts",
    "alert": "set RECMESH_TLS_CERTIFICATE and RECMESH_TLS_KEY to a certificate that the store accepts",
    "wrong_version_number": "the store speaks no TLS there: {plain}",
    "wrong version number": "the store speaks no TLS there: {plain}",
}
_PLAIN: dict[Store, str] = {"REDIS": "use redis://", "MILVUS": "use http://"}


def tls_advice(store: Store, message: str) -> str:
    """Return what to do about an error of TLS, after a semicolon; nothing for other errors."""
    text = message.lower()
    if "ssl" not in text and "tsi_" not in text:
        return ""
    advice = next((advice for part, advice in _TLS_ADVICE.items() if part in text), "")
    return f"; {advice.format(store=store, plain=_PLAIN[store])}" if advice else ""


def _tls_of(store: Store, ca: Path | None, tls: TlsFiles | None) -> TlsFiles | None:
    """The files of TLS of a process, with other authorities for a store."""
    if ca and not os.access(ca, os.R_OK):
        raise SettingsError(f"RECMESH_{store}_CA {ca} cannot be read: mount the file, or unset it")
    if ca is None:
        return replace(tls, server_name="") if tls else None
    return replace(tls, ca=ca, server_name="") if tls else TlsFiles(ca=ca)


def _advice(store: Store) -> str:
    return f"give a user and a password as RECMESH_{store}_USERNAME and RECMESH_{store}_PASSWORD"


def read_password(place: str, path: Path) -> str:
    """Return the password in a file, without line breaks at its end.

    Args:
        place: Names the setting and the file in errors.
        path: The file.

    Raises:
        SettingsError: The file cannot be read, is empty or not UTF-8.
    """
    try:
        password = path.read_bytes().decode().rstrip("\r\n")
    except OSError as error:
        raise SettingsError(f"{place} cannot be read: {error.strerror}; mount the Secret, or unset it") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{place} is not UTF-8: change its encoding") from None
    if not password:
        raise SettingsError(f"{place} is empty: write the password into it, or unset it")
    return password
