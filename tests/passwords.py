"""Passwords that are difficult to quote, and a Milvus that accepts none."""

import base64
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

ALL_ASCII = "".join(map(chr, range(0x20, 0x7F)))
"""Every printable character of ASCII, from the space to the tilde."""

PASSWORDS = (ALL_ASCII, "/?#@%:", "$(HOME)`id`\\\"' ", "pässwörd-密码-🔑", "%2F%zz", "two\nlines\t\x01")
"""Passwords with the characters that URLs, shells, redis.conf or Kubernetes give a meaning."""


@dataclass
class RefusingMilvus(grpc.ServerInterceptor):
    """A server that accepts no user, and records what calls send. The Milvus of the tests accepts every call.

    Attributes:
        port: Where it listens.
        tokens: The decoded token of each call; None for a call without one.
    """

    port: int = 0
    tokens: list[str | None] = field(default_factory=list)

    def uri(self, login: str = "") -> str:
        """The URI of the server."""
        return f"http://{login}127.0.0.1:{self.port}"

    def intercept_service(self, _continuation: object, details: grpc.HandlerCallDetails) -> Any:
        """Record the token of a call, and refuse it."""
        token = dict(details.invocation_metadata).get("authorization")
        self.tokens.append(None if token is None else base64.b64decode(token).decode())
        return grpc.unary_unary_rpc_method_handler(
            lambda _request, context: context.abort(grpc.StatusCode.UNAUTHENTICATED, "auth check failure")
        )


@contextmanager
def refusing_milvus() -> Iterator[RefusingMilvus]:
    """Run a server that accepts no user during the block."""
    milvus = RefusingMilvus()
    server = grpc.server(futures.ThreadPoolExecutor(2), interceptors=[milvus])
    milvus.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield milvus
    finally:
        server.stop(None).wait()
