"""Certificates of TLS: files that are read again when they change, and what Python's ssl module needs of them.

A certificate lives for weeks, a process for longer. Whoever renews the files, such as cert-manager or the kubelet that
updates a mounted Secret, does not restart the processes that use them.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recmesh.errors import SettingsError
from recmesh.throttle import LogThrottle

# ssl and urllib.request are imported where they are used: without TLS, a command of the client is done before they are.
if TYPE_CHECKING:
    import ssl
    import urllib.request

__all__ = ["Pem", "TlsFiles", "TlsReader", "client_context", "fingerprint", "server_context", "url_opener"]

_CHECK_SECONDS = 1.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TlsFiles:
    """Files in PEM form. Their settings are RECMESH_TLS_CERTIFICATE, RECMESH_TLS_KEY and RECMESH_TLS_CA.

    Attributes:
        certificate: The certificate, followed by those between it and the CA; None for a client without one.
        key: Its private key, not encrypted.
        ca: The certificates of the authorities that are trusted.
        server_name: The name to expect in a server's certificate, instead of that in its address. Empty for the latter.
    """

    certificate: Path | None = None
    key: Path | None = None
    ca: Path
    server_name: str = ""

    @classmethod
    def of(
        cls, certificate: Path | None, key: Path | None, ca: Path | None, server_name: str = ""
    ) -> "TlsFiles | None":
        """Return the files that settings name; None if they name none.

        Raises:
            SettingsError: A setting is missing beside the others.
        """
        if (certificate is None) != (key is None):
            raise SettingsError("RECMESH_TLS_CERTIFICATE and RECMESH_TLS_KEY: set both, or none")
        if ca is None:
            if certificate is not None:
                raise SettingsError("RECMESH_TLS_CERTIFICATE is set: set RECMESH_TLS_CA as well")
            return None
        return cls(certificate=certificate, key=key, ca=ca, server_name=server_name)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "TlsFiles | None":
        """Return the files that environment variables name: see `of`.

        Args:
            environment: The variables; None means `os.environ`.
        """
        env = os.environ if environment is None else environment
        certificate, key, ca = (
            Path(path) if (path := env.get(f"RECMESH_TLS_{name}")) else None for name in ("CERTIFICATE", "KEY", "CA")
        )
        return cls.of(certificate, key, ca, env.get("RECMESH_TLS_SERVER_NAME", ""))


@dataclass(frozen=True)
class Pem:
    """What the files held when they were read.

    Attributes:
        certificate: Empty for none.
        key: Empty for none.
        ca: The trusted authorities.
    """

    certificate: bytes
    key: bytes
    ca: bytes


class TlsReader:
    """Reads files again when they have changed. May be used by several threads.

    What cannot be used, such as a key that does not fit the certificate, does not replace what can.
    """

    def __init__(self, files: TlsFiles, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the files.

        Args:
            files: The files.
            clock: Monotonic time in seconds. The files are looked at once a second at most.

        Raises:
            SettingsError: A file is missing or has no usable content; the message names its setting.
        """
        self.files = files
        self._clock = clock
        self._lock = threading.Lock()
        self._state = self._look()
        self._pem = self._read()
        self._next_look = clock() + _CHECK_SECONDS

    def current(self) -> Pem:
        """Return the latest usable content: the same object until it changes."""
        if self._clock() >= self._next_look:
            with self._lock:
                self._refresh()
        return self._pem

    def _refresh(self) -> None:
        self._next_look = self._clock() + _CHECK_SECONDS
        state = self._look()
        if state == self._state:
            return
        try:
            pem = self._read()
        except SettingsError as error:
            log.warning("certificates have changed and cannot be used; the former ones stay: %s", error)
            self._state = state
            return
        # Files that change while they are read are read once more, at the next look.
        if self._look() == state:
            self._state = state
            if pem != self._pem:
                self._pem = pem

    def _look(self) -> tuple[object, ...]:
        return tuple(fingerprint(path) for path in (self.files.certificate, self.files.key, self.files.ca))

    def _read(self) -> Pem:
        contents = (
            _content(setting, path)
            for setting, path in (
                ("CERTIFICATE", self.files.certificate),
                ("KEY", self.files.key),
                ("CA", self.files.ca),
            )
        )
        pem = Pem(*contents)
        import ssl

        _configured(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), self.files)
        return pem


def client_context(files: TlsFiles) -> "ssl.SSLContext":
    """Return a context for connections to a server, which must have a certificate of the CA.

    Raises:
        SettingsError: See `TlsReader`.
    """
    import ssl

    return _configured(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), files)


def url_opener(files: TlsFiles | None) -> "urllib.request.OpenerDirector":
    """Return what opens URLs of recmesh's own ports, over TLS if there are files.

    They are on this machine or in the same network: `http_proxy` and its relatives are for the world outside.

    Raises:
        SettingsError: See `TlsReader`.
    """
    import urllib.request

    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if files:
        handlers.append(urllib.request.HTTPSHandler(context=client_context(files)))
    return urllib.request.build_opener(*handlers)


def server_context(reader: TlsReader, clients: "ssl.VerifyMode") -> "ssl.SSLContext":
    """Return a context for a server, which uses renewed files for new connections.

    Args:
        reader: Of files with a certificate.
        clients: Whether clients must have a certificate of the CA.
    """
    import ssl

    used: list[tuple[Pem, ssl.SSLContext]] = []
    faults = LogThrottle()

    def latest() -> "ssl.SSLContext":
        pem = reader.current()
        if not used or used[0][0] is not pem:
            context = _configured(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), reader.files)
            context.verify_mode = clients
            context.sni_callback = choose
            used[:] = [(pem, context)]
        return used[0][1]

    def choose(connection: Any, _name: str, _context: "ssl.SSLContext") -> None:
        try:
            connection.context = latest()
        except SettingsError as error:  # The files are being replaced at this moment.
            if faults.due(reason=str(error)):
                log.warning("certificates cannot be used; the former ones stay: %s", error)

    return latest()


def _configured(context: "ssl.SSLContext", files: TlsFiles) -> "ssl.SSLContext":
    import ssl

    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(files.ca)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"RECMESH_TLS_CA {files.ca} has no certificate in PEM form ({_reason(error)})") from error
    if files.certificate and files.key:
        try:
            context.load_cert_chain(files.certificate, files.key, password=_refuse)
        except (OSError, ssl.SSLError, _EncryptedKey) as error:
            raise SettingsError(
                f"RECMESH_TLS_CERTIFICATE {files.certificate} and RECMESH_TLS_KEY {files.key} cannot be used: "
                f"{_reason(error)}"
            ) from error
    return context


class _EncryptedKey(Exception):
    def __str__(self) -> str:
        return "the key is encrypted; store it without a passphrase"


def _refuse() -> str:
    raise _EncryptedKey


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    return str(reason).replace("_", " ").lower()


def fingerprint(path: Path | None) -> tuple[int, ...] | None:
    """Return what changes when a file is replaced or written; None if there is no such file."""
    try:
        status = path.stat() if path else None
    except OSError:
        return None
    # The kubelet replaces a link on the way to the file, so the inode changes.
    return (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size) if status else None


def _content(setting: str, path: Path | None) -> bytes:
    try:
        return path.read_bytes() if path else b""
    except OSError as error:
        raise SettingsError(f"RECMESH_TLS_{setting} {path} cannot be read: {error.strerror}") from error
