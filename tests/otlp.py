"""Receivers of OTLP for tests: real servers, over gRPC and over HTTP, that keep the spans they are sent."""

import contextlib
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    DESCRIPTOR,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.certificates import self_signed

_KINDS = {Span.SPAN_KIND_SERVER: "server", Span.SPAN_KIND_CLIENT: "client", Span.SPAN_KIND_INTERNAL: "internal"}

Tree = tuple[str, list["Tree"]]
"""The name of a span, and its children by name."""


@dataclass(frozen=True)
class ReceivedSpan:
    """A span as it arrived.

    Attributes:
        resource: Attributes of the process.
        failed: Whether its status is ERROR.
    """

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    seconds: float
    failed: bool
    attributes: Mapping[str, object]
    resource: Mapping[str, object]


@dataclass
class Receiver:
    """What a receiver was sent.

    Attributes:
        endpoint: Where it listens.
        headers: Of each request.
    """

    endpoint: str
    spans: list[ReceivedSpan] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def take(self, request: ExportTraceServiceRequest, headers: Mapping[str, str]) -> None:
        """Keep the spans of a request."""
        self.spans.extend(received(request))
        self.headers.append({name.lower(): value for name, value in headers.items()})

    def trace(self, trace_id: str) -> list[ReceivedSpan]:
        """The spans of a trace."""
        return [span for span in self.spans if span.trace_id == trace_id]


@dataclass(frozen=True)
class Certificate:
    """Files of a certificate in PEM format."""

    certificate: Path
    key: Path


def received(request: ExportTraceServiceRequest) -> Iterator[ReceivedSpan]:
    """The spans of a request."""
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield ReceivedSpan(
                    name=span.name,
                    kind=_KINDS[span.kind],
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    seconds=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
                    failed=span.status.code == Status.STATUS_CODE_ERROR,
                    attributes=_attributes(span.attributes),
                    resource=_attributes(resource.resource.attributes),
                )


def tree(spans: Sequence[ReceivedSpan], parent_id: str = "") -> list[Tree]:
    """The spans below a parent, sorted by name."""
    return sorted((span.name, tree(spans, span.span_id)) for span in spans if span.parent_id == parent_id)


@contextlib.contextmanager
def grpc_receiver(tls: Certificate | None = None) -> Iterator[Receiver]:
    """A receiver over gRPC on a free port."""
    receiver = Receiver("")

    def export(request: ExportTraceServiceRequest, context: grpc.ServicerContext) -> ExportTraceServiceResponse:
        receiver.take(request, {name: str(value) for name, value in context.invocation_metadata()})
        return ExportTraceServiceResponse()

    handler = grpc.unary_unary_rpc_method_handler(
        export,
        request_deserializer=ExportTraceServiceRequest.FromString,
        response_serializer=ExportTraceServiceResponse.SerializeToString,
    )
    service = DESCRIPTOR.services_by_name["TraceService"].full_name
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": handler}),))
    if tls is None:
        receiver.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    else:
        pair = (tls.key.read_bytes(), tls.certificate.read_bytes())
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
        receiver.endpoint = f"https://localhost:{port}"
    server.start()
    try:
        yield receiver
    finally:
        server.stop(0).wait()


@contextlib.contextmanager
def http_receiver(tls: Certificate | None = None) -> Iterator[Receiver]:
    """A receiver over HTTP on a free port."""
    receiver = Receiver("")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert (self.path, self.headers["Content-Type"]) == ("/v1/traces", "application/x-protobuf")
            content = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.take(ExportTraceServiceRequest.FromString(content), dict(self.headers.items()))
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.endpoint = f"http://127.0.0.1:{server.server_port}"
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls.certificate, tls.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        receiver.endpoint = f"https://localhost:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _attributes(pairs: Sequence[KeyValue]) -> dict[str, object]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> object:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(element) for element in value.array_value.values]
    return getattr(value, str(kind))


def make_certificate(folder: Path) -> Certificate:
    """A self-signed certificate of localhost."""
    key, certificate = self_signed()
    files = Certificate(folder / "tls.crt", folder / "tls.key")
    files.certificate.write_bytes(certificate)
    files.key.write_bytes(key)
    return files
