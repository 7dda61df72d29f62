"""Trace headers: which ones are continued, and what calls send on. And which requests are exported."""

import contextlib
import contextvars
import re
import threading
from collections.abc import Callable
from typing import TypeVar

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from recmesh import spans
from recmesh.errors import Unavailable
from recmesh.serving import tracing
from recmesh.serving.tracing import Tracer

T = TypeVar("T")

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HEADER = re.compile("00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]")
PATH = "/um.UMService/um_call"
SILENT = Tracer()


def in_request(*metadata: tuple[str, str | bytes], action: Callable[[], T]) -> T:
    """The result of an action in a request with some metadata."""

    def request() -> T:
        SILENT.begin(PATH, metadata)
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


Outcome = tuple[str, str]
"""The status of a request, and why it was kept; empty if it was not."""


class Traced:
    """Requests to a tracer, and the spans that it exports.

    Attributes:
        exporter: Receives the spans.
    """

    def __init__(self, ratio: float = 0.0, slow: float = 3600.0) -> None:
        self.exporter = InMemorySpanExporter()
        processor = SimpleSpanProcessor(self.exporter)
        self._tracer = Tracer(ratio, slow, processor, Resource({"service.name": "test"}))

    def request(
        self, status: str = "OK", *metadata: tuple[str, str], action: Callable[[], T | None] = lambda: None
    ) -> T | None:
        """The result of an action in a request that ends with a status."""

        def request() -> T | None:
            span = self._tracer.begin(PATH, metadata)
            result = action()
            self._tracer.end(span, status)
            return result

        return contextvars.Context().run(request)

    def kept(self) -> list[Outcome]:
        """The requests that were exported."""
        roots = [span.attributes or {} for span in self.exporter.get_finished_spans() if span.kind is SpanKind.SERVER]
        return [(str(root["rpc.response.status_code"]), str(root["recmesh.kept"])) for root in roots]


def test_the_spans_of_a_request_continue_the_trace_of_the_caller_and_calls_continue_theirs() -> None:
    traced = Traced()

    def action() -> str:
        with spans.span("call", {"recmesh.keys": 2}, spans.Kind.CLIENT):
            return dict(tracing.outgoing_metadata())["traceparent"]

    header = traced.request("OK", ("traceparent", f"00-{TRACE_ID}-{SPAN_ID}-01"), action=action)
    call, request = traced.exporter.get_finished_spans()

    assert call.context is not None and call.parent is not None
    assert request.context is not None and request.parent is not None
    assert header == f"00-{TRACE_ID}-{call.context.span_id:016x}-01"
    assert f"{call.context.trace_id:032x}" == f"{request.context.trace_id:032x}" == TRACE_ID
    assert call.parent.span_id == request.context.span_id
    assert f"{request.parent.span_id:016x}" == SPAN_ID
    assert (call.name, call.kind, dict(call.attributes or {})) == ("call", SpanKind.CLIENT, {"recmesh.keys": 2})
    assert (request.name, request.kind) == ("um.UMService/um_call", SpanKind.SERVER)
    assert dict(request.attributes or {}) == {
        "rpc.system.name": "grpc",
        "rpc.method": "um.UMService/um_call",
        "rpc.response.status_code": "OK",
        "recmesh.kept": "sampled",
    }
    assert request.resource.attributes == {"service.name": "test"}
    assert request.status.status_code is StatusCode.UNSET


def test_a_request_without_a_caller_has_no_parent() -> None:
    traced = Traced(ratio=1)
    header = traced.request(action=lambda: dict(tracing.outgoing_metadata())["traceparent"])
    (request,) = traced.exporter.get_finished_spans()

    assert request.parent is None and request.context is not None
    assert header == f"00-{request.context.trace_id:032x}-{request.context.span_id:016x}-01"


def test_quick_and_complete_requests_are_dropped_unless_they_are_sampled() -> None:
    traced = Traced()
    traced.request()
    traced.request("OK", ("traceparent", f"00-{TRACE_ID}-{SPAN_ID}-00"))
    assert traced.kept() == []

    traced.request("OK", ("traceparent", f"00-{TRACE_ID}-{SPAN_ID}-01"))
    assert traced.kept() == [("OK", "sampled")]


def test_the_ratio_samples_requests_without_a_caller_only() -> None:
    traced = Traced(ratio=1)
    traced.request()
    traced.request("OK", ("traceparent", f"00-{TRACE_ID}-{SPAN_ID}-00"))

    assert traced.kept() == [("OK", "sampled")]


@pytest.mark.parametrize(
    "status", ["INTERNAL", "UNAVAILABLE", "DEADLINE_EXCEEDED", "DATA_LOSS", "UNKNOWN", "CANCELLED"]
)
def test_failed_requests_are_kept(status: str) -> None:
    traced = Traced()
    traced.request(status)
    (request,) = traced.exporter.get_finished_spans()

    assert traced.kept() == [(status, "failed")]
    given_up = status == "CANCELLED"
    assert request.status.status_code is (StatusCode.UNSET if given_up else StatusCode.ERROR)
    assert (request.attributes or {}).get("error.type") == (None if given_up else status)


@pytest.mark.parametrize("status", ["INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"])
def test_requests_that_are_refused_are_dropped(status: str) -> None:
    traced = Traced()
    traced.request(status)

    assert traced.kept() == []


def test_degraded_answers_are_kept() -> None:
    traced = Traced()
    traced.request(action=lambda: spans.annotate({spans.DEGRADED: ("cm",)}))

    assert traced.kept() == [("OK", "degraded")]


def test_slow_requests_are_kept() -> None:
    traced = Traced(slow=0.0)
    traced.request()

    assert traced.kept() == [("OK", "slow")]


def test_what_is_kept_without_being_sampled_is_limited() -> None:
    """The clock is the real one, so the requests may fall into two seconds."""
    traced = Traced()
    for _ in range(1000):
        traced.request("UNAVAILABLE")
    for _ in range(100):
        traced.request("UNAVAILABLE", ("traceparent", f"00-{TRACE_ID}-{SPAN_ID}-01"))

    reasons = [reason for _, reason in traced.kept()]
    assert 50 <= reasons.count("failed") < 1000
    assert reasons.count("sampled") == 100


def test_the_error_of_a_call_is_named_without_its_text() -> None:
    traced = Traced()

    def action() -> None:
        with contextlib.suppress(Unavailable), spans.span("MGET", {}, spans.Kind.CLIENT):
            raise Unavailable("user 5")

    traced.request("UNAVAILABLE", action=action)
    call, _ = traced.exporter.get_finished_spans()

    assert call.status.status_code is StatusCode.ERROR
    assert dict(call.attributes or {}) == {"error.type": "Unavailable"}
    assert call.status.description is None and call.events == ()


def test_the_ids_of_the_current_span_are_known_in_a_recorded_request_only() -> None:
    def ids() -> tuple[str | None, str | None]:
        return tracing.current_trace_id(), tracing.current_span_id()

    traced = Traced(ratio=1)
    recorded = traced.request(action=ids)
    (request,) = traced.exporter.get_finished_spans()

    assert request.context is not None
    assert recorded == (f"{request.context.trace_id:032x}", f"{request.context.span_id:016x}")
    assert in_request(("traceparent", f"00-{TRACE_ID}-{SPAN_ID}-01"), action=ids) == (TRACE_ID, None)


@pytest.mark.parametrize(("draw", "kept"), [(0.24, [("OK", "sampled")]), (0.25, [])])
def test_the_ratio_is_the_share_of_sampled_requests(
    draw: float, kept: list[Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    traced = Traced(ratio=0.25)
    monkeypatch.setattr("recmesh.serving.tracing.random.random", lambda: draw)
    traced.request()
    assert traced.kept() == kept


def test_a_new_trace_has_an_id_of_128_bits_and_a_span_of_64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recmesh.serving.tracing.random.getrandbits", lambda bits: 2**bits - 1)
    assert sent()["traceparent"] == f"00-{'f' * 32}-{'f' * 16}-00"
    monkeypatch.setattr("recmesh.serving.tracing.random.getrandbits", lambda bits: 0)
    assert sent()["traceparent"] == f"00-{'0' * 31}1-{'0' * 15}1-00"


def test_closing_waits_two_seconds_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[tuple[bool, float]] = []

    class Thread:
        def __init__(self, target: Callable[[], None], daemon: bool) -> None:
            self.daemon = daemon

        def start(self) -> None: ...

        def join(self, seconds: float) -> None:
            waits.append((self.daemon, seconds))

    tracer = Tracer(1.0, 1.0, SimpleSpanProcessor(InMemorySpanExporter()))
    monkeypatch.setattr("recmesh.serving.tracing.threading.Thread", Thread)
    tracer.close()
    assert waits == [(True, 2.0)]


def test_closing_does_not_wait_for_an_exporter_that_hangs() -> None:
    released = threading.Event()

    class Hanging(SpanProcessor):
        def shutdown(self) -> None:
            released.wait()

    Tracer(0.0, 0.0, Hanging()).close()
    assert not released.is_set()
    released.set()
