"""Who is at the other end of a connection, as far as TLS and the request say."""

import ssl
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from recmesh.serving.tracing import Metadata

AUTHORIZATION, BEARER = "authorization", "Bearer "
"""The metadata, key and beginning of the value, that a token comes with."""

_MAX_KEPT = 1_024


class Peer(NamedTuple):
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
    def of_context(cls, auth_context: Mapping[str, Iterable[bytes]], token: str = "") -> "Peer":
        """The peer of a call over gRPC.

        Args:
            auth_context: Of the call (https://grpc.github.io/grpc/core/md_doc_server_side_auth.html).
            token: The bearer token of the call.
        """
        encrypted = [*auth_context.get("transport_security_type", ())][:1] == [b"ssl"]
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

    def with_token(self, metadata: Metadata | None) -> "Peer":
        """This peer with the token in the metadata of a call."""
        token = bearer_token(metadata)
        return Peer(*self[:4], token) if token else self


NO_PEER = Peer()
"""A connection without TLS."""


def bearer_token(metadata: Metadata | None) -> str:
    """The bearer token in the metadata of a call; empty without one."""
    for key, value in metadata or ():
        if key == AUTHORIZATION and isinstance(value, str) and value[: len(BEARER)].lower() == BEARER.lower():
            return value[len(BEARER) :].strip()
    return ""


class Peers:
    """The peers of gRPC calls.

    gRPC takes 30 µs to tell what it knows about a connection, so peers are kept by what it tells in less than 1 µs: the
    address of the client, and the names in its certificate, without their kinds. Neither would do alone: an address may
    be used again, and a DNS name may be spelt like a URI.
    """

    def __init__(self, *, by_token_only: bool = False) -> None:
        """Know no peer.

        Args:
            by_token_only: Whether nothing but the token matters.
        """
        self._by_token_only = by_token_only
        self._known: dict[tuple[object, ...], Peer] = {}

    def of(self, context: Any) -> Peer:
        """The peer of a call, with its token.

        Args:
            context: A context of gRPC.
        """
        metadata = context.invocation_metadata()
        if self._by_token_only:
            return NO_PEER.with_token(metadata)
        names = context.peer_identities()
        if not names:
            return Peer.of_context(context.auth_context(), bearer_token(metadata))
        key = (context.peer(), context.peer_identity_key(), *names)
        peer = self._known.get(key)
        if peer is None:
            peer = Peer.of_context(context.auth_context())
            if len(self._known) >= _MAX_KEPT:
                self._known.clear()
            self._known[key] = peer
        return peer.with_token(metadata)
