"""What a process serves."""

from dataclasses import dataclass

from google.protobuf.descriptor import ServiceDescriptor

from recmesh.contract import MAX_REQUEST_BYTES
from recmesh.serving.health import Check
from recmesh.serving.load import Congestion
from recmesh.serving.rpc import Method


@dataclass(frozen=True)
class Endpoint:
    """One gRPC service on one port, and over HTTP on another one.

    Attributes:
        name: Name in metrics and logs (`um`, `cm`, ...).
        port: The port to bind.
        descriptor: Of the gRPC service.
        methods: The implementation of each method by its name.
        check: Decides the health status.
        max_request_bytes: The largest request.
        congestion: Of the gate at which its calls compute, if they do. A process has one gate.
        http_port: The port of the same methods over HTTP; 0 for none.
    """

    name: str
    port: int
    descriptor: ServiceDescriptor
    methods: dict[str, Method]
    check: Check
    max_request_bytes: int = MAX_REQUEST_BYTES
    congestion: Congestion | None = None
    http_port: int = 0
