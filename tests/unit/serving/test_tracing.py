"""Trace headers: which ones are continued, and what calls send on."""

import contextvars
import re
from collections.abc import Callable
from typing import TypeVar

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from recmesh.serving import tracing
from recmesh.serving.tracing import Tracer

T = TypeVar("T")

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HEADER = re.compile("00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]")
SILENT = Tracer("test", 1.0, None)


def in_request(*metadata: tuple[str, str | bytes], action: Callable[[], T], tracer: Tracer = SILENT) -> T:
    """The result of an action in a request with some metadata."""

    def request() -> T:
        tracer.begin(metadata)
        return action()

    return contextvars.copy_context().run(request)


def sent(*metadata: tuple[str, str | bytes]) -> dict[str, str]:
    """The headers of a call that is made in a request with some metadata."""
    headers = in_request(*metadata, action=tracing.outgoing_metadata)
    return dict(headers or ())


@pytest.mark.parametrize("flags", ["00", "01"])
def test_a_valid_header_is_continued_with_its_flags(flags: str) -> None:
    header = f"00-{TRACE_ID}-{SPAN_ID}-{flags}"

    assert sent(("user-agent", "test"), ("traceparent", header)) == {"traceparent": header}
    assert in_request(("traceparent", header), action=tracing.current_trace_id) == TRACE_ID


@pytest.mark.parametrize(
    "header", [f"cc-{TRACE_ID}-{SPAN_ID}-01", f"cc-{TRACE_ID}-{SPAN_ID}-01-what-the-future-brings"]
)
def test_a_header_of_a_future_version_is_continued_in_version_0(header: str) -> None:
    assert sent(("traceparent", header)) == {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01"}


@pytest.mark.parametrize(
    "header",
    [
        "",
        "nonsense",
        f"00-{TRACE_ID}-{SPAN_ID}",
        f"00-{TRACE_ID[1:]}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{SPAN_ID[1:]}-01",
        f"00-{'x' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{SPAN_ID}-zz",
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"00-{TRACE_ID}-{SPAN_ID}-01-more",
        f"ff-{TRACE_ID}-{SPAN_ID}-01",
        f"00-{TRACE_ID.upper()}-{SPAN_ID}-01",
    ],
)
def test_an_invalid_header_starts_a_new_trace(header: str) -> None:
    headers = sent(("traceparent", header))

    assert HEADER.fullmatch(headers["traceparent"])
    assert TRACE_ID not in headers["traceparent"].lower()


def test_a_header_of_bytes_is_ignored() -> None:
    headers = sent(("traceparent", f"00-{TRACE_ID}-{SPAN_ID}-01".encode()))

    assert TRACE_ID not in headers["traceparent"]


def test_the_trace_state_is_passed_on() -> None:
    headers = {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01", "tracestate": "vendor=value"}

    assert sent(*headers.items()) == headers


def test_requests_without_a_header_get_different_traces() -> None:
    assert sent()["traceparent"].endswith("-00")
    assert sent()["traceparent"] != sent()["traceparent"]


def test_outside_a_request_there_is_no_trace() -> None:
    assert tracing.current_trace_id() is None
    assert tracing.outgoing_metadata() == []


def test_a_call_within_a_span_continues_the_span() -> None:
    exporter = InMemorySpanExporter()
    tracer = Tracer("test", 0.0, SimpleSpanProcessor(exporter))

    def action() -> str:
        with tracer.span("outer", server=True), tracer.span("inner"):
            return dict(tracing.outgoing_metadata() or ())["traceparent"]

    header = in_request(("traceparent", f"00-{TRACE_ID}-{SPAN_ID}-01"), action=action, tracer=tracer)
    inner, outer = exporter.get_finished_spans()

    assert (
        inner.context is not None
        and inner.parent is not None
        and outer.context is not None
        and outer.parent is not None
    )
    assert header == f"00-{TRACE_ID}-{inner.context.span_id:016x}-01"
    assert inner.parent.span_id == outer.context.span_id
    assert [(span.name, span.kind) for span in (inner, outer)] == [
        ("inner", SpanKind.INTERNAL),
        ("outer", SpanKind.SERVER),
    ]
    assert outer.resource.attributes["service.name"] == "test"
    assert f"{outer.parent.span_id:016x}" == SPAN_ID


def test_unsampled_requests_have_no_spans() -> None:
    exporter = InMemorySpanExporter()
    tracer = Tracer("test", 0.0, SimpleSpanProcessor(exporter))

    def action() -> None:
        with tracer.span("never"):
            pass

    in_request(("traceparent", f"00-{TRACE_ID}-{SPAN_ID}-00"), action=action, tracer=tracer)
    in_request(action=action, tracer=tracer)

    assert exporter.get_finished_spans() == ()


def test_the_ratio_samples_requests_without_a_parent() -> None:
    exporter = InMemorySpanExporter()
    tracer = Tracer("test", 1.0, SimpleSpanProcessor(exporter))

    def action() -> None:
        with tracer.span("always"):
            pass

    in_request(action=action, tracer=tracer)

    assert len(exporter.get_finished_spans()) == 1


@pytest.mark.parametrize(("draw", "sampled"), [(0.24, 1), (0.25, 0)])
def test_the_ratio_is_the_share_of_sampled_requests(draw: float, sampled: int, monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = InMemorySpanExporter()
    tracer = Tracer("test", 0.25, SimpleSpanProcessor(exporter))
    monkeypatch.setattr("recmesh.serving.tracing.random.random", lambda: draw)

    def action() -> None:
        with tracer.span("some"):
            pass

    in_request(action=action, tracer=tracer)
    assert len(exporter.get_finished_spans()) == sampled


def test_a_new_trace_has_an_id_of_128_bits_and_a_span_of_64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recmesh.serving.tracing.random.getrandbits", lambda bits: 2**bits - 1)
    assert sent()["traceparent"] == f"00-{'f' * 32}-{'f' * 16}-00"
    monkeypatch.setattr("recmesh.serving.tracing.random.getrandbits", lambda bits: 0)
    assert sent()["traceparent"] == f"00-{'0' * 31}1-{'0' * 15}1-00"


@pytest.mark.parametrize(("endpoint", "insecure"), [("http://collector:4317", True), ("https://collector:4317", False)])
def test_spans_go_to_the_endpoint_of_the_settings(
    endpoint: str, insecure: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from opentelemetry.exporter.otlp.proto.grpc import trace_exporter

    made: list[tuple[str, bool]] = []

    def exporter(endpoint: str, insecure: bool) -> InMemorySpanExporter:
        made.append((endpoint, insecure))
        return InMemorySpanExporter()

    monkeypatch.setattr(trace_exporter, "OTLPSpanExporter", exporter)
    tracer = Tracer.to_otlp("test", 1.0, endpoint)
    tracer.close()
    assert made == [(endpoint, insecure)]
    Tracer.to_otlp("test", 1.0, "").close()
    assert len(made) == 1


def test_closing_waits_two_seconds_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[tuple[bool, float]] = []

    class Thread:
        def __init__(self, target: Callable[[], None], daemon: bool) -> None:
            self.daemon = daemon

        def start(self) -> None: ...

        def join(self, seconds: float) -> None:
            waits.append((self.daemon, seconds))

    tracer = Tracer("test", 1.0, SimpleSpanProcessor(InMemorySpanExporter()))
    monkeypatch.setattr("recmesh.serving.tracing.threading.Thread", Thread)
    tracer.close()
    assert waits == [(True, 2.0)]
