"""Distributed tracing: the W3C trace context of the current request, and the decision which requests are exported.

The trace id goes into logs and into calls to other services, exported or not. If there is an exporter, the spans of
every request are recorded (`recmesh.spans`). At the end of the request they are exported if the trace is sampled, or if
the request failed, was answered incompletely or took long (docs/adr/033-traces-are-kept-at-the-end.md).

The context is OpenTelemetry's own, and so are its wire format and parser (docs/adr/021-trace-context.md).
"""

import random
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import grpc
from opentelemetry.context import Context, attach
from opentelemetry.propagators.textmap import Getter, Setter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    format_span_id,
    format_trace_id,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from recmesh import __version__, spans
from recmesh.serving import otlp
from recmesh.serving.settings import ServerSettings
from recmesh.settings import ProcessSettings
from recmesh.spans import Kind, Span

Metadata = Iterable[tuple[str, str | bytes]]

_STATUS = "rpc.response.status_code"
# What the semantic conventions of gRPC count as errors of a server, less UNIMPLEMENTED, which no method answers.
_FAILED = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
# No error of the server, but callers usually cancel because their deadline has passed.
_GIVEN_UP = "CANCELLED"
# Of those that are not sampled: when everything fails, tracing must not add to the load.
_MAX_KEPT_PER_SECOND = 50

_EMPTY_CONTEXT = Context()
_EMPTY_RESOURCE = Resource.get_empty()
_CLOSE_SECONDS = 2.0
_TRACE_ID_BITS = 128
_SPAN_ID_BITS = 64
_SCOPE = InstrumentationScope("recmesh", __version__)
_KINDS = {Kind.SERVER: SpanKind.SERVER, Kind.CLIENT: SpanKind.CLIENT, Kind.INTERNAL: SpanKind.INTERNAL}


class _MetadataGetter(Getter[Metadata]):
    """Reads headers from the metadata of a gRPC call."""

    def get(self, carrier: Metadata, key: str) -> list[str] | None:
        return [value for name, value in carrier if name == key and isinstance(value, str)] or None

    def keys(self, carrier: Metadata) -> list[str]:
        return [name for name, _ in carrier]


class _MetadataSetter(Setter[list[tuple[str, str]]]):
    """Writes headers into the metadata of a gRPC call."""

    def set(self, carrier: list[tuple[str, str]], key: str, value: str) -> None:
        carrier.append((key, value))


_PROPAGATOR = TraceContextTextMapPropagator()
_GETTER, _SETTER = _MetadataGetter(), _MetadataSetter()


def current_trace_id() -> str | None:
    """The trace id of the current request, 32 hexadecimal digits; None outside a request."""
    context = get_current_span().get_span_context()
    return format_trace_id(context.trace_id) if context.is_valid else None


def current_span_id() -> str | None:
    """The id of the current span, 16 hexadecimal digits; None if the request is not recorded."""
    recorded = spans.current()
    return format_span_id(recorded[0].id) if recorded else None


def outgoing_metadata() -> Sequence[tuple[str, str]]:
    """Metadata that continues the current trace in a call; empty outside a request."""
    metadata: list[tuple[str, str]] = []
    _PROPAGATOR.inject(metadata, _outgoing_context(), setter=_SETTER)
    return metadata


@contextmanager
def call(path: str, attributes: spans.Attributes) -> Iterator[None]:
    """A span for a gRPC call to another service during the block.

    Args:
        path: Of the called method: `/package.Service/Method`.
        attributes: Of the span, besides the status.
    """
    with spans.span(path[1:], attributes, Kind.CLIENT):
        try:
            yield
        except grpc.aio.AioRpcError as error:
            spans.annotate({_STATUS: error.code().name})
            raise
        spans.annotate({_STATUS: "OK"})


def _outgoing_context() -> Context | None:
    """The context of the current span; None, which means OpenTelemetry's current one, if there is no such span."""
    recorded = spans.current()
    if not recorded:
        return None
    received = get_current_span().get_span_context()
    sent = SpanContext(received.trace_id, recorded[0].id, False, received.trace_flags, received.trace_state)
    return set_span_in_context(NonRecordingSpan(sent), _EMPTY_CONTEXT)


class Tracer:
    """Starts or continues the trace of each request, and exports the requests to keep."""

    def __init__(
        self,
        ratio: float = 0.0,
        slow: float = 0.0,
        processor: SpanProcessor | None = None,
        resource: Resource = _EMPTY_RESOURCE,
    ) -> None:
        """Trace one process.

        Args:
            ratio: Share of the requests without a parent that are sampled. Others follow their parent.
            slow: Seconds. Requests that take as long are exported even if they are not sampled.
            processor: Receives the spans to export. Without one, the tracer records no spans and samples no request.
            resource: What the spans come from.
        """
        self._ratio = ratio
        self._slow_nanoseconds = slow * 1e9
        self._processor = processor
        self._resource = resource
        self._budget = _Budget(_MAX_KEPT_PER_SECOND)

    @classmethod
    def of(cls, service: str, settings: ServerSettings) -> "Tracer":
        """The tracer of a service as its settings and the environment describe it.

        Raises:
            SettingsError: A variable of OpenTelemetry has an impossible value.
        """
        exporter = otlp.open_exporter(settings.otlp_endpoint)
        if exporter is None:
            return cls()
        processor = BatchSpanProcessor(exporter)
        return cls(settings.trace_ratio, settings.trace_slow, processor, otlp.resource(service))

    @classmethod
    def of_job(cls, job: str, settings: ProcessSettings) -> "Tracer":
        """The tracer of a job. Each run is sampled.

        Raises:
            SettingsError: A variable of OpenTelemetry has an impossible value.
        """
        exporter = otlp.open_exporter(settings.otlp_endpoint)
        processor = BatchSpanProcessor(exporter) if exporter else None
        return cls(ratio=1.0, processor=processor, resource=otlp.resource(job))

    @contextmanager
    def run(self, name: str) -> Iterator[None]:
        """Record the block as one trace, and export it at the end, also if the block fails.

        Args:
            name: Of the span of the whole block.
        """
        if self._processor is None:
            yield
            return
        attach(self._new_trace())
        root = spans.begin(name, 0, {}, Kind.INTERNAL)
        try:
            yield
        except BaseException as error:
            root.end(error)
            raise
        else:
            root.end()
        finally:
            self._export(root.recording, get_current_span().get_span_context())

    def begin(self, path: str, metadata: Metadata | None) -> Span | None:
        """Continue the caller's trace, or start one, in the current task.

        A malformed header counts as none, as the W3C recommendation Trace Context requires.

        Args:
            path: Of the called method: `/package.Service/Method`.
            metadata: Of the incoming call.

        Returns:
            The span of the request, to be passed to `end`; None if requests are not recorded.
        """
        context = _PROPAGATOR.extract(metadata or (), _EMPTY_CONTEXT, _GETTER) or self._new_trace()
        attach(context)
        if self._processor is None:
            return None
        parent = get_current_span(context).get_span_context()
        return spans.begin(path[1:], parent.span_id if parent.is_remote else 0, spans.rpc(path))

    def end(self, request: Span | None, status: str) -> str | None:
        """End the span of a request, and export all spans of the request if they are to be kept.

        Args:
            request: From `begin`.
            status: The name of the gRPC status.

        Returns:
            The trace id if the request is exported.
        """
        if request is None:
            return None
        request.end()
        context = get_current_span().get_span_context()
        kept = self._kept(request, status, context.trace_flags.sampled)
        if not kept:
            return None
        request.annotate({_STATUS: status, spans.KEPT: kept})
        if status in _FAILED:
            request.error = status
        self._export(request.recording, context)
        return format_trace_id(context.trace_id)

    def close(self) -> None:
        """Export the remaining spans, unless the receiver does not answer within two seconds."""
        if self._processor is not None:
            # The exporter repeats a failed export for half a minute, and cannot be told to stop.
            closing = threading.Thread(target=self._processor.shutdown, daemon=True)
            closing.start()
            closing.join(_CLOSE_SECONDS)

    def _kept(self, request: Span, status: str, sampled: bool) -> str:
        """Why a request is exported; empty if it is not."""
        if sampled:
            return "sampled"
        if status in _FAILED or status == _GIVEN_UP:
            reason = "failed"
        elif spans.DEGRADED in request.attributes:
            reason = "degraded"
        elif request.ended - request.started >= self._slow_nanoseconds:
            reason = "slow"
        else:
            return ""
        return reason if self._budget.spend() else ""

    def _export(self, recorded: Iterable[Span], request: SpanContext) -> None:
        assert self._processor is not None
        for span in recorded:
            self._processor.on_end(_readable(span, request, self._resource))

    def _new_trace(self) -> Context:
        sampled = self._processor is not None and random.random() < self._ratio
        parent = SpanContext(
            trace_id=random.getrandbits(_TRACE_ID_BITS) or 1,
            span_id=random.getrandbits(_SPAN_ID_BITS) or 1,
            is_remote=False,
            trace_flags=TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT),
        )
        return set_span_in_context(NonRecordingSpan(parent), _EMPTY_CONTEXT)


class _Budget:
    """Allows a number of events in each second."""

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._second = 0
        self._spent = 0

    def spend(self) -> bool:
        """Whether one more event is allowed now."""
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._spent = second, 0
        self._spent += 1
        return self._spent <= self._per_second


def _readable(span: Span, request: SpanContext, resource: Resource) -> ReadableSpan:
    """A span as exporters take it.

    Args:
        span: Has ended.
        request: The context that the request came with.
        resource: What the span comes from.
    """

    def context(span_id: int, *, remote: bool = False) -> SpanContext:
        # Processors ignore spans that are not marked as sampled.
        flags = TraceFlags(TraceFlags.SAMPLED)
        return SpanContext(request.trace_id, span_id, remote, flags, request.trace_state)

    attributes = dict(span.attributes)
    if span.error:
        attributes["error.type"] = attributes.get(_STATUS, span.error)
    return ReadableSpan(
        name=span.name,
        context=context(span.id),
        parent=context(span.parent_id, remote=span.kind is Kind.SERVER) if span.parent_id else None,
        resource=resource,
        attributes=attributes,
        kind=_KINDS[span.kind],
        status=Status(StatusCode.ERROR if span.error else StatusCode.UNSET),
        start_time=span.started,
        end_time=span.ended,
        instrumentation_scope=_SCOPE,
    )
