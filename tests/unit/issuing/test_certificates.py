"""Certificates as OpenSSL and Python see them."""

import ssl
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from recmesh.issuing.certificates import (
    Pair,
    Unusable,
    bundle_pem,
    has_names,
    is_due,
    issue,
    key_of,
    new_authority,
    pair_of,
    signed_by,
)
from recmesh.issuing.spec import Identity
from tests.unit.issuing.installation import spiffe

NOW = datetime.now(timezone.utc)
DAYS = timedelta(days=90)
UM = Identity(dns=("r-um", "r-um.shop.svc", "10.1.2.3"), uri=spiffe("um"))
CLIENT = Identity(uri=spiffe("client"))


@pytest.fixture(scope="module")
def authority() -> Pair:
    return new_authority("r", timedelta(days=3650), NOW)


def write(folder: Path, name: str, pair: Pair) -> Path:
    """Write a certificate and its key, as ssl and openssl read them."""
    path = folder / f"{name}.pem"
    path.write_bytes(pair.certificate_pem + pair.key_pem)
    return path


def openssl(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("purpose", ["sslserver", "sslclient"])
def test_openssl_verifies_the_chain_for_servers_and_clients(authority: Pair, tmp_path: Path, purpose: str) -> None:
    leaf, ca = write(tmp_path, "um", issue(authority, "r-um", UM, DAYS, NOW)), write(tmp_path, "ca", authority)
    strict: list[str | Path] = ["verify", "-x509_strict", "-purpose", purpose, "-CAfile", ca]
    verified = openssl(*strict, "-verify_hostname", "r-um.shop.svc", leaf)
    assert (verified.returncode, verified.stdout) == (0, f"{leaf}: OK\n"), verified.stderr
    for option, name in (("-verify_ip", "10.1.2.3"), ("-verify_ip", "127.0.0.1"), ("-verify_hostname", "localhost")):
        assert openssl(*strict, option, name, leaf).returncode == 0, name
    assert "hostname mismatch" in openssl(*strict, "-verify_hostname", "r-cm", leaf).stderr


def test_openssl_refuses_a_certificate_of_another_ca_and_one_that_has_ended(authority: Pair, tmp_path: Path) -> None:
    leaf = write(tmp_path, "um", issue(authority, "r-um", UM, DAYS, NOW))
    ca, other = write(tmp_path, "ca", authority), write(tmp_path, "other", new_authority("r", 10 * DAYS, NOW))
    assert "unable to get local issuer certificate" in openssl("verify", "-CAfile", other, leaf).stderr
    late = str(int((NOW + DAYS).timestamp()) + 1)
    assert "certificate has expired" in openssl("verify", "-attime", late, "-CAfile", ca, leaf).stderr
    both = tmp_path / "bundle.pem"
    both.write_bytes(other.read_bytes() + ca.read_bytes())
    assert openssl("verify", "-CAfile", both, leaf).returncode == 0


def test_a_certificate_of_the_ca_cannot_sign_others(authority: Pair, tmp_path: Path) -> None:
    leaf = issue(authority, "r-um", UM, DAYS, NOW)
    forged = write(tmp_path, "forged", issue(leaf, "r-as", CLIENT, DAYS, NOW))
    ca, between = write(tmp_path, "ca", authority), write(tmp_path, "um", leaf)
    verified = openssl("verify", "-CAfile", ca, "-untrusted", between, forged)
    assert verified.returncode != 0
    assert "invalid CA certificate" in verified.stderr


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> ssl.SSLObject:
    """A handshake in memory. Returns the server's side."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(to_client, to_server, server_hostname=name), server.wrap_bio(to_server, to_client, True)]
    for end in ends * 3:
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return ends[1]


def contexts(authority: Pair, folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Mutual TLS between um and a client."""
    ca = write(folder, "ca", authority)
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    server.verify_mode = ssl.CERT_REQUIRED
    for context, name, identity in ((server, "um", UM), (client, "client", CLIENT)):
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_verify_locations(ca)
        context.load_cert_chain(write(folder, name, issue(authority, f"r-{name}", identity, DAYS, NOW)))
    return server, client


def test_python_shakes_hands_by_tls_1_3_and_sees_the_identity(authority: Pair, tmp_path: Path) -> None:
    connected = shake_hands(*contexts(authority, tmp_path), "r-um")
    assert connected.version() == "TLSv1.3"
    assert (connected.getpeercert() or {})["subjectAltName"] == (("URI", spiffe("client")),)


def test_python_refuses_a_server_of_another_name(authority: Pair, tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake_hands(*contexts(authority, tmp_path), "r-cm")


def test_a_certificate_is_on_p256_for_servers_and_clients(authority: Pair) -> None:
    leaf = issue(authority, "r-um", UM, DAYS, NOW).certificate
    key = leaf.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"
    usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usages) == [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    assert leaf.not_valid_after_utc - NOW.replace(microsecond=0) == DAYS
    assert leaf.not_valid_before_utc < NOW


def test_a_certificate_ends_no_later_than_its_ca() -> None:
    short = new_authority("r", timedelta(days=3), NOW)
    assert issue(short, "r-um", UM, DAYS, NOW).certificate.not_valid_after_utc == short.certificate.not_valid_after_utc


def test_a_certificate_is_due_when_less_than_a_third_of_its_life_is_left(authority: Pair) -> None:
    leaf = issue(authority, "r-um", UM, timedelta(minutes=85), NOW).certificate
    begin = leaf.not_valid_before_utc
    assert leaf.not_valid_after_utc - begin == timedelta(minutes=90)
    assert not is_due(leaf, begin + timedelta(minutes=60))
    assert is_due(leaf, begin + timedelta(minutes=60, seconds=1))


def test_names_are_compared_whatever_their_order(authority: Pair) -> None:
    leaf = issue(authority, "r-um", UM, DAYS, NOW).certificate
    assert has_names(leaf, UM.model_copy(update={"dns": UM.dns[::-1]}))
    assert not has_names(leaf, UM.model_copy(update={"dns": UM.dns[:-1]}))
    assert not has_names(leaf, UM.model_copy(update={"uri": spiffe("cm")}))
    assert not has_names(authority.certificate, UM)


def test_a_ca_that_somebody_else_made_may_have_an_rsa_key(tmp_path: Path) -> None:
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "of the company")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    dated = builder.serial_number(7).not_valid_before(NOW - DAYS).not_valid_after(NOW + DAYS)
    certificate = dated.add_extension(x509.BasicConstraints(True, None), True).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    authority = pair_of(certificate.public_bytes(pem), secret)
    leaf = issue(authority, "r-um", UM, DAYS, NOW)
    assert signed_by(leaf.certificate, certificate)
    ca = write(tmp_path, "ca", authority)
    assert openssl("verify", "-CAfile", ca, write(tmp_path, "um", leaf)).returncode == 0


def test_unusable_keys_and_certificates_are_named(authority: Pair) -> None:
    other = new_authority("r", DAYS, NOW)
    with pytest.raises(Unusable, match="the key is not that of the certificate"):
        pair_of(authority.certificate_pem, other.key_pem)
    with pytest.raises(Unusable, match="no certificate in PEM"):
        pair_of(b"", authority.key_pem)
    with pytest.raises(Unusable, match="no private key in PEM"):
        pair_of(authority.certificate_pem, b"-----BEGIN")
    pem, raw = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    edwards = ed25519.Ed25519PrivateKey.generate().private_bytes(pem, raw, serialization.NoEncryption())
    with pytest.raises(Unusable, match="neither of elliptic curves nor RSA"):
        key_of(edwards)
    assert not signed_by(other.certificate, authority.certificate)
    assert bundle_pem([authority.certificate, other.certificate]).count(b"BEGIN CERTIFICATE") == 2
