"""Who is at the other end of a connection, as far as TLS and the request say."""

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Peer:
    """The other end of a connection. What it claims is verified, except for the token.

    Attributes:
        dns: DNS names in its certificate.
        uris: URIs in its certificate, such as a SPIFFE id.
        encrypted: Whether the connection uses TLS.
        certified: Whether it has shown a certificate of the CA.
        token: The bearer token that came with the request; empty for none.
    """

    dns: tuple[str, ...] = ()
    uris: tuple[str, ...] = ()
    encrypted: bool = False
    certified: bool = False
    token: str = ""

    @classmethod
    def of_context(cls, auth_context: Mapping[str, Sequence[bytes]], token: str = "") -> "Peer":
        """The peer of a call over gRPC.

        Args:
            auth_context: Of the call (https://grpc.github.io/grpc/core/md_doc_server_side_auth.html).
            token: The bearer token of the call.
        """
        encrypted = auth_context.get("transport_security_type", ())[:1] == [b"ssl"]
        dns, uris = (
            tuple(name.decode(errors="replace") for name in auth_context.get(key, ()))
            for key in ("peer_dns", "peer_uri")
        )
        return cls(dns, uris, encrypted, "x509_pem_cert" in auth_context, token)

    @classmethod
    def of_socket(cls, connection: Any, token: str = "") -> "Peer":
        """The peer of a connection of Python's ssl module, after the handshake.

        Args:
            connection: An `ssl.SSLSocket` or an `ssl.SSLObject`; anything else is not encrypted.
            token: The bearer token of the request.
        """
        if not isinstance(connection, ssl.SSLSocket | ssl.SSLObject):
            return cls(token=token)
        certificate: Mapping[str, Any] = connection.getpeercert() or {}
        names = certificate.get("subjectAltName", ())
        dns, uris = (tuple(name for kind, name in names if kind == wanted) for wanted in ("DNS", "URI"))
        return cls(dns, uris, True, bool(certificate), token)
