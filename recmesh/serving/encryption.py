"""TLS of the servers: one place makes the credentials of gRPC, HTTP and metrics ports."""

import ssl
from dataclasses import dataclass

import grpc

from recmesh.errors import SettingsError
from recmesh.serving import metrics
from recmesh.serving.settings import ServerSettings
from recmesh.tls import Pem, TlsReader, server_context


@dataclass(frozen=True)
class Encryption:
    """How the servers of a process use TLS.

    Attributes:
        reader: Of the certificate.
        client_auth: Whether clients must have a certificate of the CA.
        accept_plain: Whether the ports take plain connections as well.
    """

    reader: TlsReader
    client_auth: bool
    accept_plain: bool

    @classmethod
    def of(cls, settings: ServerSettings) -> "Encryption | None":
        """The TLS that settings ask for; None for none.

        Raises:
            SettingsError: A file is missing or cannot be used.
        """
        files = settings.tls
        if files is None or files.certificate is None:
            if settings.tls_accept_plain:
                raise SettingsError("RECMESH_TLS_ACCEPT_PLAIN needs RECMESH_TLS_CERTIFICATE, _KEY and _CA: set them")
            return None
        reader = TlsReader(files)
        metrics.CERTIFICATE_EXPIRY.set_function(_Expiry(reader))
        return cls(reader, settings.tls_client_auth == "require", settings.tls_accept_plain)

    def credentials(self) -> grpc.ServerCredentials:
        """Credentials of a gRPC server, which uses renewed files for new connections."""
        used = [self.reader.current()]

        def renewed() -> grpc.ServerCertificateConfiguration | None:
            pem = self.reader.current()
            if pem is used[0]:
                return None
            used[0] = pem
            return _configuration(pem)

        return grpc.dynamic_ssl_server_credentials(
            _configuration(used[0]),
            renewed,  # type: ignore[arg-type]  # the stub does not know None, which means no change
            self.client_auth,
        )

    def context(self, *, optional: bool = False) -> ssl.SSLContext:
        """A context for a server in Python.

        Args:
            optional: Take clients without a certificate, too.
        """
        required = ssl.CERT_REQUIRED if self.client_auth else ssl.CERT_NONE
        return server_context(self.reader, ssl.CERT_OPTIONAL if optional else required)


class _Expiry:
    """When the current certificate ends, in seconds since 1970."""

    def __init__(self, reader: TlsReader) -> None:
        self._reader = reader
        self._known: tuple[Pem, float] | None = None

    def __call__(self) -> float:
        # Only processes with TLS need it, and it takes a while to import.
        from cryptography import x509

        pem = self._reader.current()
        if self._known is None or self._known[0] is not pem:
            certificate = x509.load_pem_x509_certificate(pem.certificate)
            self._known = pem, certificate.not_valid_after_utc.timestamp()
        return self._known[1]


def _configuration(pem: Pem) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(pem.key, pem.certificate)], root_certificates=pem.ca)
