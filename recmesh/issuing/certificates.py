"""Certificates: a CA, and what it signs. Keys are ECDSA on P-256; everything is PEM."""

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from recmesh.issuing.spec import Identity

PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
"""Ours are of elliptic curves; a CA that somebody else made may have an RSA key."""

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_PEM = serialization.Encoding.PEM

# Clocks of nodes may differ.
_BACKDATED = timedelta(minutes=5)


class Unusable(Exception):
    """PEM that is no certificate or key, or a key of another certificate."""


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: PrivateKey

    @property
    def certificate_pem(self) -> bytes:
        """The certificate as PEM."""
        return self.certificate.public_bytes(_PEM)

    @property
    def key_pem(self) -> bytes:
        """The key as PEM, not encrypted."""
        return self.key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def new_authority(name: str, life: timedelta, now: datetime.datetime) -> Pair:
    """Make a CA.

    Args:
        name: Whose CA it is.
        life: How long it is valid.
        now: The time, in UTC.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    # A name of its own: verification then finds the CA in a bundle by its name.
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name[:40]} CA {serial:040x}"[:64])])
    builder = _builder(subject, subject, key, serial, now, now + life).add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    )
    certificate = builder.add_extension(_usage(signs_certificates=True), critical=True).sign(key, hashes.SHA256())
    return Pair(certificate, key)


def issue(authority: Pair, name: str, identity: Identity, life: timedelta, now: datetime.datetime) -> Pair:
    """Make a certificate for a server, a client, or both.

    It ends no later than that of the CA. A server can also be reached on loopback.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    issuer = authority.certificate
    end = min(now + life, issuer.not_valid_after_utc)
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = (
        _builder(subject, issuer.subject, key, x509.random_serial_number(), now, end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectAlternativeName(names_of(identity)), critical=False)
        .add_extension(_authority_identifier(issuer), critical=False)
    )
    return Pair(builder.sign(authority.key, hashes.SHA256()), key)


def names_of(identity: Identity) -> list[x509.GeneralName]:
    """The names that a certificate of an identity has."""
    hosts = dict.fromkeys([*identity.dns, *_LOOPBACK]) if identity.dns else ()
    return [*map(_host, hosts), x509.UniformResourceIdentifier(identity.uri)]


def pair_of(certificate: bytes, key: bytes) -> Pair:
    """Read a certificate and its key.

    Raises:
        Unusable: They cannot be read, or do not belong together.
    """
    pairs = pairs_of(certificate, key)
    if not pairs:
        raise Unusable("the key is not that of the certificate")
    return pairs[0]


def pairs_of(bundle: bytes, key: bytes) -> list[Pair]:
    """The certificates of a bundle that have this key."""
    private = key_of(key)
    public = private.public_key()
    return [Pair(certificate, private) for certificate in bundle_of(bundle) if certificate.public_key() == public]


def key_of(text: bytes) -> PrivateKey:
    """Read a private key.

    Raises:
        Unusable: It cannot be read, or is of another kind.
    """
    try:
        key = serialization.load_pem_private_key(text, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise Unusable("no private key in PEM, or one with a passphrase") from None
    if not isinstance(key, PrivateKey):
        raise Unusable("the key is neither of elliptic curves nor RSA")
    return key


def bundle_of(text: bytes) -> list[x509.Certificate]:
    """Read certificates.

    Raises:
        Unusable: They cannot be read, or there are none.
    """
    try:
        return x509.load_pem_x509_certificates(text)
    except ValueError:
        raise Unusable("no certificate in PEM") from None


def bundle_pem(certificates: Sequence[x509.Certificate]) -> bytes:
    """Certificates as PEM, one after the other."""
    return b"".join(certificate.public_bytes(_PEM) for certificate in certificates)


def signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether the key of `issuer` has signed a certificate."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def is_due(certificate: x509.Certificate, now: datetime.datetime) -> bool:
    """Whether less than a third of the life of a certificate is left."""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return end - now < (end - begin) / 3


def has_names(certificate: x509.Certificate, identity: Identity) -> bool:
    """Whether a certificate names exactly this identity."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    return set(found) == set(names_of(identity))


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    serial: int,
    now: datetime.datetime,
    end: datetime.datetime,
) -> x509.CertificateBuilder:
    public = key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(serial)
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _authority_identifier(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    try:
        identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key())  # type: ignore[arg-type]  # keys of CAs can sign
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
