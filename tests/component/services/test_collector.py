"""Traces through a real OpenTelemetry Collector, which is built from its Go modules (tests/collector)."""

import base64
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from local.ports import free_ports
from recmesh.pb.um_pb2 import UserModelRequest
from tests.calls import UM
from tests.otlp import Certificate, ReceivedSpan, make_certificate, received, tree
from tests.processes import running
from tests.servers import ROOT, RedisServer, Server, spawn, wait_until

pytestmark = pytest.mark.long

IDS = {"traceId", "spanId", "parentSpanId"}

CONFIGURATION = """
extensions:
  bearertokenauth: {{token: sesame}}
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: 'localhost:{grpc}', auth: {{authenticator: bearertokenauth}}, tls: {tls}}}
      http: {{endpoint: 'localhost:{http}', auth: {{authenticator: bearertokenauth}}, tls: {tls}}}
exporters:
  file: {{path: '{spans}', flush_interval: 10ms}}
service:
  telemetry: {{metrics: {{level: none}}}}
  extensions: [bearertokenauth]
  pipelines:
    traces: {{receivers: [otlp], exporters: [file]}}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Collector. RECMESH_COLLECTOR names one that is already built."""
    if built := os.environ.get("RECMESH_COLLECTOR"):
        return Path(built)
    path = tmp_path_factory.mktemp("collector") / "collector"
    command = ["go", "build", "-ldflags=-s -w", "-o", str(path), "."]
    environment = {**os.environ, "CGO_ENABLED": "0"}
    result = subprocess.run(
        command, cwd=ROOT / "tests/collector", env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return path


def _with_base64_ids(line: str) -> dict[str, Any]:
    """OTLP in JSON has ids in hexadecimal, unlike protobuf's JSON."""

    def convert(fields: dict[str, Any]) -> dict[str, Any]:
        ids = {name: base64.b64encode(bytes.fromhex(fields[name])).decode() for name in IDS & fields.keys()}
        return {**fields, **ids}

    content: dict[str, Any] = json.loads(line, object_hook=convert)
    return content


class Collector(Server):
    """A running Collector, which writes what it receives to a file."""

    spans_file: Path
    tls: Certificate

    def endpoint(self, protocol: str) -> str:
        """Its URL for a protocol."""
        return f"https://localhost:{self.ports[protocol]}"

    def spans(self) -> list[ReceivedSpan]:
        """What it has received."""
        lines = self.spans_file.read_text().splitlines() if self.spans_file.exists() else []
        requests = [json_format.ParseDict(_with_base64_ids(line), ExportTraceServiceRequest()) for line in lines]
        return [span for request in requests for span in received(request)]


@pytest.fixture
def collector(program: Path, tmp_path: Path) -> Iterator[Collector]:
    """A Collector with TLS that wants a token."""
    ports = dict(zip(("grpc", "http/protobuf"), free_ports(2), strict=True))
    tls = make_certificate(tmp_path)
    configuration = tmp_path / "collector.yaml"
    configuration.write_text(
        CONFIGURATION.format(
            grpc=ports["grpc"],
            http=ports["http/protobuf"],
            tls=f"{{cert_file: '{tls.certificate}', key_file: '{tls.key}'}}",
            spans=tmp_path / "spans.json",
        )
    )
    log = tmp_path / "collector.log"
    server = Collector(spawn([str(program), f"--config=file:{configuration}"], log), log, ports)
    server.spans_file, server.tls = tmp_path / "spans.json", tls
    try:
        wait_until(lambda: "Everything is ready" in log.read_text(), server, "the Collector")
        yield server
    finally:
        server.stop()


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_request_arrives_at_a_collector(protocol: str, collector: Collector, shop: RedisServer) -> None:
    settings = {
        "RECMESH_REDIS_URL": shop.url,
        "RECMESH_TRACE_SLOW": "0",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint(protocol),
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20sesame",
        "OTEL_EXPORTER_OTLP_CERTIFICATE": str(collector.tls.certificate),
    }
    with running("um", settings) as service, grpc.insecure_channel(service.target("um")) as channel:
        for _ in range(2):
            UM.on(channel)(UserModelRequest(user_id="5"), timeout=30)
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(60) == 0
    wait_until(lambda: sum(span.kind == "server" for span in collector.spans()) == 2, collector, "the spans")

    last = [span for span in collector.spans() if span.kind == "server"][-1]
    spans = [span for span in collector.spans() if span.trace_id == last.trace_id]
    assert tree(spans) == [("um.UMService/um_call", [("MGET", [])])]
    assert last.resource["service.name"] == "um"
    assert last.attributes["recmesh.kept"] in ("slow", "sampled")
