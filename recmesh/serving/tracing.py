"""Trace context (W3C traceparent) of the request that runs now, and OpenTelemetry spans for the sampled ones.

An unsampled request costs no span object: only its ids travel, in a context variable and in the metadata of calls.
"""

import random
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags, set_span_in_context

HEADER = "traceparent"
_NO_SPAN = nullcontext()


@dataclass(frozen=True, slots=True)
class Trace:
    """Where in which trace we are."""

    trace_id: int
    span_id: int
    sampled: bool

    @property
    def trace_id_hex(self) -> str:
        """As logs and OpenTelemetry write it."""
        return f"{self.trace_id:032x}"

    @property
    def header(self) -> str:
        """The traceparent to send with calls."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{'01' if self.sampled else '00'}"


_current: ContextVar[Trace | None] = ContextVar("recmesh_trace", default=None)


def current() -> Trace | None:
    """The trace of this task's request, if it has one."""
    return _current.get()


def outgoing_metadata() -> tuple[tuple[str, str], ...] | None:
    """Metadata that continues this trace in a call."""
    trace = _current.get()
    return None if trace is None else ((HEADER, trace.header),)


class Tracer:
    """Starts the trace of each request and its spans.

    Args:
        service: name in the exported spans.
        ratio: share of requests without a parent that are sampled; those with one follow it.
        processor: where finished spans go; None: nowhere, and nothing is sampled.
    """

    def __init__(self, service: str, ratio: float, processor: SpanProcessor | None) -> None:
        self._ratio = ratio
        self._provider: TracerProvider | None = None
        if processor is not None:
            self._provider = TracerProvider(resource=Resource.create({"service.name": service}))
            self._provider.add_span_processor(processor)

    @classmethod
    def to_otlp(cls, service: str, ratio: float, endpoint: str) -> "Tracer":
        """Export to an OTLP endpoint (gRPC); an empty endpoint exports nothing."""
        if not endpoint:
            return cls(service, ratio, None)
        # Imported late: it costs start-up time that a process without an endpoint does not owe.
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        return cls(
            service,
            ratio,
            BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, insecure=not endpoint.startswith("https:"))),
        )

    def begin(self, metadata: Iterable[tuple[str, str | bytes]] | None) -> Trace:
        """Continue the caller's trace or start one, and make it current in this task."""
        trace = _parent(metadata) or self._root()
        _current.set(trace)
        return trace

    def span(self, name: str, *, server: bool = False) -> AbstractContextManager[None]:
        """A span under the current trace while the block runs, if the request is sampled."""
        parent = _current.get()
        if self._provider is None or parent is None or not parent.sampled:
            return _NO_SPAN
        return _recorded(self._provider, parent, name, SpanKind.SERVER if server else SpanKind.INTERNAL)

    def close(self) -> None:
        """Export what is waiting."""
        if self._provider is not None:
            self._provider.shutdown()

    def _root(self) -> Trace:
        sampled = self._provider is not None and random.random() < self._ratio
        return Trace(random.getrandbits(128) or 1, random.getrandbits(64) or 1, sampled)


@contextmanager
def _recorded(provider: TracerProvider, parent: Trace, name: str, kind: SpanKind) -> Iterator[None]:
    tracer = provider.get_tracer("recmesh")
    with tracer.start_as_current_span(name, context=_context_of(parent), kind=kind) as span:
        child = span.get_span_context()
        token = _current.set(Trace(child.trace_id, child.span_id, True))
        try:
            yield
        finally:
            _current.reset(token)


def _parent(metadata: Iterable[tuple[str, str | bytes]] | None) -> Trace | None:
    for key, value in metadata or ():
        if key == HEADER and isinstance(value, str):
            return _parse(value)
    return None


def _parse(header: str) -> Trace | None:
    """A malformed header is no parent: the specification says to start anew."""
    parts = header.split("-")
    if len(parts) < 4 or len(parts[1]) != 32 or len(parts[2]) != 16:
        return None
    try:
        trace_id, span_id, flags = (int(part, 16) for part in parts[1:4])
    except ValueError:
        return None
    return Trace(trace_id, span_id, bool(flags & 1)) if trace_id and span_id else None


def _context_of(trace: Trace) -> Context:
    flags = TraceFlags(TraceFlags.SAMPLED)
    parent = SpanContext(trace.trace_id, trace.span_id, is_remote=True, trace_flags=flags)
    return set_span_in_context(NonRecordingSpan(parent))
