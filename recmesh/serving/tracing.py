"""Distributed tracing: the W3C trace context of the current request, and spans for the sampled requests.

An unsampled request creates no recording span. Its trace id still goes into logs and into calls to other services.
The context is OpenTelemetry's own, and so are its wire format and parser (docs/adr/021-trace-context.md).
"""

import random
import threading
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext

from opentelemetry.context import Context, attach
from opentelemetry.propagators.textmap import Getter, Setter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    TraceFlags,
    format_trace_id,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

Metadata = Iterable[tuple[str, str | bytes]]

_EMPTY_CONTEXT = Context()
_NO_SPAN = nullcontext()
_CLOSE_SECONDS = 2.0
_TRACE_ID_BITS = 128
_SPAN_ID_BITS = 64


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


def outgoing_metadata() -> Sequence[tuple[str, str]]:
    """Metadata that continues the current trace in a call; empty outside a request."""
    metadata: list[tuple[str, str]] = []
    _PROPAGATOR.inject(metadata, setter=_SETTER)
    return metadata


class Tracer:
    """Starts or continues the trace of each request, and creates its spans."""

    def __init__(self, service: str, ratio: float, processor: SpanProcessor | None) -> None:
        """Trace one service.

        Args:
            service: Name in the exported spans.
            ratio: Share of the requests without a parent that are sampled. Others follow their parent.
            processor: Receives finished spans. Without one, the tracer creates no spans and samples no request.
        """
        self._ratio = ratio
        self._provider: TracerProvider | None = None
        if processor is not None:
            resource = Resource.create({"service.name": service})
            self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
            self._provider.add_span_processor(processor)

    @classmethod
    def to_otlp(cls, service: str, ratio: float, endpoint: str) -> "Tracer":
        """A tracer that exports to an OTLP endpoint over gRPC, or nowhere if `endpoint` is empty."""
        if not endpoint:
            return cls(service, ratio, None)
        # Imported here, because it delays the start of processes that export nothing.
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        exporter = OTLPSpanExporter(endpoint=endpoint, insecure=not endpoint.startswith("https:"))
        return cls(service, ratio, BatchSpanProcessor(exporter))

    def begin(self, metadata: Metadata | None) -> None:
        """Continue the caller's trace, or start one, in the current task.

        A malformed header counts as none, as the W3C recommendation Trace Context requires.

        Args:
            metadata: Of the incoming call.
        """
        attach(_PROPAGATOR.extract(metadata or (), _EMPTY_CONTEXT, _GETTER) or self._new_trace())

    def span(self, name: str, *, server: bool = False) -> AbstractContextManager[object]:
        """A child span of the current one for the duration of the block, if the request is sampled.

        Args:
            name: Of the span.
            server: Whether the span covers the handling of an incoming call.
        """
        if self._provider is None or not get_current_span().get_span_context().trace_flags.sampled:
            return _NO_SPAN
        kind = SpanKind.SERVER if server else SpanKind.INTERNAL
        return self._provider.get_tracer("recmesh").start_as_current_span(name, kind=kind)

    def exemplar(self) -> dict[str, str] | None:
        """Labels that lead from a measured time to the trace of the current request, if the trace is exported."""
        context = get_current_span().get_span_context()
        return {"trace_id": format_trace_id(context.trace_id)} if context.trace_flags.sampled else None

    def close(self) -> None:
        """Export the remaining spans, unless the collector does not answer within two seconds."""
        if self._provider is not None:
            # The exporter repeats a failed export for half a minute, and cannot be told to stop.
            closing = threading.Thread(target=self._provider.shutdown, daemon=True)
            closing.start()
            closing.join(_CLOSE_SECONDS)

    def _new_trace(self) -> Context:
        sampled = self._provider is not None and random.random() < self._ratio
        parent = SpanContext(
            trace_id=random.getrandbits(_TRACE_ID_BITS) or 1,
            span_id=random.getrandbits(_SPAN_ID_BITS) or 1,
            is_remote=True,
            trace_flags=TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT),
        )
        return set_span_in_context(NonRecordingSpan(parent), _EMPTY_CONTEXT)
