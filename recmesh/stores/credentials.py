"""User and password of Redis and Milvus: from settings of their own, or from the URL.

In a URL, some characters have to be escaped. If they are not, a part of the password is taken for a port or a path.
Therefore no error of this module quotes a URL. No command has an option for a password, because `ps` would show it.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from recmesh.errors import SettingsError

Store: TypeAlias = Literal["REDIS", "MILVUS"]
"""A store, as the names of its settings spell it."""

_URL_SETTINGS: dict[Store, str] = {"REDIS": "RECMESH_REDIS_URL", "MILVUS": "RECMESH_MILVUS_URI"}
_SCHEMES: dict[Store, tuple[str, ...]] = {"REDIS": ("redis", "rediss", "unix"), "MILVUS": ("http", "https", "tcp")}
_FORMS: dict[Store, str] = {
    "REDIS": "redis://host:port/db, rediss://host:port/db or unix:///path",
    "MILVUS": "http://host:port, https://host:port, or the path of a .db file for milvus-lite",
}


@dataclass(frozen=True)
class Credentials:
    """A user and a password. Both may hold any character.

    Attributes:
        username: Empty for the default user.
        password: Empty for none.
    """

    username: str = ""
    password: str = field(default="", repr=False)

    def __bool__(self) -> bool:
        return bool(self.username or self.password)

    @classmethod
    def of(cls, store: Store, username: str, password: str, password_file: Path | None) -> "Credentials":
        """Return the credentials that settings give.

        Args:
            store: Whose settings they are.
            username: RECMESH_<store>_USERNAME.
            password: RECMESH_<store>_PASSWORD.
            password_file: RECMESH_<store>_PASSWORD_FILE. Line breaks at its end do not belong to the password.

        Raises:
            SettingsError: Both a password and a file are given, the file cannot be read or is empty, or a value is not
                UTF-8.
        """
        name = f"RECMESH_{store}_PASSWORD"
        if password and password_file:
            raise SettingsError(f"{name} and {name}_FILE are both set: unset one of them")
        if password_file:
            password = _read(f"{name}_FILE {password_file}", password_file)
        for setting, value in ((f"RECMESH_{store}_USERNAME", username), (name, password)):
            # The environment's bytes that are not UTF-8 become surrogates.
            if any("\ud800" <= character <= "\udfff" for character in value):
                raise SettingsError(f"{setting} is not UTF-8: change its encoding")
        return cls(username, password)

    @classmethod
    def from_environment(cls, store: Store, environment: Mapping[str, str] = os.environ) -> "Credentials":
        """Return the credentials that environment variables give: see `of`."""
        username, password, file = (
            environment.get(f"RECMESH_{store}_{name}", "") for name in ("USERNAME", "PASSWORD", "PASSWORD_FILE")
        )
        return cls.of(store, username, password, Path(file) if file else None)


NO_CREDENTIALS = Credentials()


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
    in_url = Credentials(username, password)
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


def _advice(store: Store) -> str:
    return f"give a user and a password as RECMESH_{store}_USERNAME and RECMESH_{store}_PASSWORD"


def _read(place: str, path: Path) -> str:
    """The password in a file. `place` names the setting and the file in errors."""
    try:
        password = path.read_bytes().decode().rstrip("\r\n")
    except OSError as error:
        raise SettingsError(f"{place} cannot be read: {error.strerror}; mount the Secret, or unset it") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{place} is not UTF-8: change its encoding") from None
    if not password:
        raise SettingsError(f"{place} is empty: write the password into it, or unset it")
    return password
