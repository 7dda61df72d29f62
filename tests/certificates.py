"""Certificates for tests of TLS."""

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


def self_signed() -> tuple[bytes, bytes]:
    """A private key and a certificate of localhost and 127.0.0.1, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "recmesh test")])
    now = datetime.datetime.now(datetime.timezone.utc)
    hosts = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return secret, certificate.public_bytes(pem)


@dataclass(frozen=True)
class Issued:
    """A certificate and its key as PEM."""

    key: bytes
    certificate: bytes

    def write(self, folder: Path, ca: bytes) -> "Files":
        """Write the files of a mounted Secret."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in (("tls.crt", self.certificate), ("tls.key", self.key), ("ca.crt", ca)):
            new = folder / f".{name}"
            new.write_bytes(content)
            new.replace(folder / name)
        return Files(folder)


@dataclass(frozen=True)
class Files:
    """The files of a mounted Secret."""

    folder: Path

    def settings(self) -> dict[str, str]:
        """The variables that name them."""
        names = {"CERTIFICATE": "tls.crt", "KEY": "tls.key", "CA": "ca.crt"}
        return {f"RECMESH_TLS_{setting}": str(self.folder / name) for setting, name in names.items()}


class Authority:
    """A CA.

    Attributes:
        certificate: As PEM.
    """

    def __init__(self, name: str = "test CA") -> None:
        """Make its key."""
        self._key: Any = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name(
            [x509.NameAttribute(x509.NameOID.COMMON_NAME, f"{name} {x509.random_serial_number()}"[:64])]
        )
        builder = _builder(self._name, self._name, self._key, 1).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        self.certificate = builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    @classmethod
    def of(cls, key: bytes, certificate: bytes) -> "Authority":
        """The CA of somebody else, as PEM."""
        authority = cls()
        authority._key = serialization.load_pem_private_key(key, password=None)
        authority._name, authority.certificate = x509.load_pem_x509_certificate(certificate).subject, certificate
        return authority

    def issue(self, dns: Sequence[str] = ("localhost",), uri: str = "", days: float = 1) -> Issued:
        """Issue a certificate for names and 127.0.0.1. With negative days, it has expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [*map(x509.DNSName, dns), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        if uri:
            names.append(x509.UniformResourceIdentifier(uri))
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, dns[0] if dns else "client")])
        builder = _builder(subject, self._name, key, days).add_extension(
            x509.SubjectAlternativeName(names), critical=False
        )
        pem = serialization.Encoding.PEM
        secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return Issued(secret, builder.sign(self._key, hashes.SHA256()).public_bytes(pem))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: float
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=3))
        .not_valid_after(now + datetime.timedelta(days=days))
    )
