"""Files of certificates: what is refused, and when they are read again."""

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from recmesh.errors import SettingsError
from recmesh.tls import TlsFiles, TlsReader, client_context, server_context
from tests.certificates import Authority, Files

CA = Authority()


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def files_in(folder: Path) -> TlsFiles:
    return TlsFiles(certificate=folder / "tls.crt", key=folder / "tls.key", ca=folder / "ca.crt")


def test_variables_name_the_files_or_none(tmp_path: Path) -> None:
    assert TlsFiles.from_environment({}) is None
    assert TlsFiles.from_environment({"RECMESH_TLS_CA": "/ca", "RECMESH_TLS_SERVER_NAME": "as"}) == TlsFiles(
        ca=Path("/ca"), server_name="as"
    )
    assert TlsFiles.from_environment(Files(tmp_path).settings()) == files_in(tmp_path)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("CERTIFICATE", "RECMESH_TLS_CERTIFICATE and RECMESH_TLS_KEY: set both, or none"),
        ("KEY CA", "RECMESH_TLS_CERTIFICATE and RECMESH_TLS_KEY: set both, or none"),
        ("CERTIFICATE KEY", "RECMESH_TLS_CERTIFICATE is set: set RECMESH_TLS_CA as well"),
    ],
)
def test_a_variable_that_lacks_another_is_refused(given: str, message: str) -> None:
    with pytest.raises(SettingsError) as raised:
        TlsFiles.from_environment({f"RECMESH_TLS_{name}": "/x" for name in given.split()})
    assert str(raised.value) == message


def _remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _overwrite(name: str, content: Callable[[], bytes]) -> Callable[[Path], None]:
    def overwrite(folder: Path) -> None:
        (folder / name).write_bytes(content())

    return overwrite


def _encrypt(folder: Path) -> None:
    key = serialization.load_pem_private_key((folder / "tls.key").read_bytes(), None)
    encryption = serialization.BestAvailableEncryption(b"secret")
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    (folder / "tls.key").write_bytes(pem)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_remove("tls.crt"), "RECMESH_TLS_CERTIFICATE {}/tls.crt cannot be read: No such file or directory"),
        (_remove("tls.key"), "RECMESH_TLS_KEY {}/tls.key cannot be read: No such file or directory"),
        (_remove("ca.crt"), "RECMESH_TLS_CA {}/ca.crt cannot be read: No such file or directory"),
        (
            _overwrite("ca.crt", lambda: b"none"),
            "RECMESH_TLS_CA {}/ca.crt has no certificate in PEM form (no certificate or crl found)",
        ),
        (
            _overwrite("tls.key", lambda: CA.issue().key),
            "RECMESH_TLS_CERTIFICATE {0}/tls.crt and RECMESH_TLS_KEY {0}/tls.key cannot be used: key values mismatch",
        ),
        (
            _encrypt,
            "RECMESH_TLS_CERTIFICATE {0}/tls.crt and RECMESH_TLS_KEY {0}/tls.key cannot be used: "
            "the key is encrypted; store it without a passphrase",
        ),
    ],
)
def test_files_that_cannot_be_used_are_named(tmp_path: Path, damage: Callable[[Path], None], message: str) -> None:
    CA.issue().write(tmp_path, CA.certificate)
    damage(tmp_path)
    with pytest.raises(SettingsError) as raised:
        TlsReader(files_in(tmp_path))
    assert str(raised.value) == message.format(tmp_path)


def test_files_are_read_again_a_second_after_they_change(tmp_path: Path) -> None:
    first, second, clock = CA.issue(), CA.issue(), Clock()
    first.write(tmp_path, CA.certificate)
    reader = TlsReader(files_in(tmp_path), clock)
    pem = reader.current()
    assert (pem.certificate, pem.key, pem.ca) == (first.certificate, first.key, CA.certificate)
    second.write(tmp_path, CA.certificate)
    clock.now += 0.9
    assert reader.current() is pem
    clock.now += 0.1
    assert reader.current().certificate == second.certificate
    assert reader.current() is reader.current()


def test_what_cannot_be_used_does_not_replace_what_can(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, second, clock = CA.issue(), CA.issue(), Clock()
    first.write(tmp_path, CA.certificate)
    reader = TlsReader(files_in(tmp_path), clock)
    (tmp_path / "tls.crt").write_bytes(second.certificate)  # and its key comes later
    for _ in range(3):
        clock.now += 1
        assert reader.current().certificate == first.certificate
    (message,) = caplog.messages
    assert message.startswith("certificates have changed and cannot be used; the former ones stay: RECMESH_TLS_CERT")
    second.write(tmp_path, CA.certificate)
    clock.now += 1
    assert (reader.current().certificate, reader.current().key) == (second.certificate, second.key)


def handshake(client: ssl.SSLContext, server: ssl.SSLContext, name: str = "localhost") -> Any:
    """Both ends in memory; the certificate that the client sees, in DER."""
    a, b = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(a, b, server_hostname=name), server.wrap_bio(b, a, server_side=True)]
    for _ in range(5):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ends[0].getpeercert(binary_form=True)


def test_a_server_shows_the_renewed_certificate_and_trusts_the_renewed_ca(tmp_path: Path) -> None:
    other, clock = Authority(), Clock()
    CA.issue().write(tmp_path / "server", CA.certificate)
    CA.issue().write(tmp_path / "client", CA.certificate)
    reader = TlsReader(files_in(tmp_path / "server"), clock)
    server = server_context(reader, ssl.CERT_REQUIRED)
    assert handshake(client_context(files_in(tmp_path / "client")), server) == der(tmp_path / "server")
    other.issue().write(tmp_path / "server", other.certificate)
    other.issue().write(tmp_path / "new client", other.certificate)
    clock.now += 1
    assert handshake(client_context(files_in(tmp_path / "new client")), server) == der(tmp_path / "server")
    with pytest.raises(ssl.SSLError, match="certificate verify failed"):
        handshake(client_context(files_in(tmp_path / "client")), server)


def test_a_client_requires_the_name_of_the_server(tmp_path: Path) -> None:
    CA.issue(["um"]).write(tmp_path, CA.certificate)
    server = server_context(TlsReader(files_in(tmp_path)), ssl.CERT_REQUIRED)
    client = client_context(files_in(tmp_path))
    assert handshake(client, server, "um") == der(tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(client, server, "cm")


def der(folder: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert((folder / "tls.crt").read_text())
