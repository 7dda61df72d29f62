"""Spans of the current request: what was done, from when to when, and how it ended.

Every span is recorded and few are exported, so a span has to be cheap: an object and two clock readings, a fraction of
what a span of OpenTelemetry's SDK costs (docs/adr/033-traces-are-kept-at-the-end.md). `recmesh.serving.tracing` begins
the recording of a request, decides at its end whether to keep it, and converts what it keeps. Outside a recorded
request, nothing here has an effect.

Names and attributes follow OpenTelemetry's semantic conventions; those of recmesh begin with `recmesh.`. No attribute
holds an id of a user or an item, a value of a profile, or the text of an error, which may contain one.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from enum import Enum
from random import getrandbits
from types import TracebackType
from typing import Final, TypeAlias

Attribute: TypeAlias = str | bool | int | float | Sequence[str]
Attributes: TypeAlias = Mapping[str, Attribute]

KEPT: Final = "recmesh.kept"
RELEASE: Final = "recmesh.release"
SEGMENT: Final = "recmesh.segment"
CANDIDATES: Final = "recmesh.candidates"
ITEMS: Final = "recmesh.items"
DEGRADED: Final = "recmesh.degraded"
MODEL: Final = "recmesh.model"
RUNTIME: Final = "recmesh.runtime"
ROWS: Final = "recmesh.rows"
KEYS: Final = "recmesh.keys"
QUERIES: Final = "recmesh.queries"

_SPAN_ID_BITS = 64
_NO_ATTRIBUTES: Attributes = {}


class Kind(Enum):
    """Whether a span covers an incoming call, an outgoing one, or neither."""

    SERVER = "server"
    CLIENT = "client"
    INTERNAL = "internal"


class Span:
    """A span of one request.

    Attributes:
        recording: The spans of the request that have ended. All spans of the request share it.
        parent_id: 0 if the span has no parent.
        started: Nanoseconds since the epoch.
        ended: The same; 0 while the span lasts.
        error: The class of the exception that ended it; empty if none did.
    """

    __slots__ = ("attributes", "ended", "error", "id", "kind", "name", "parent_id", "recording", "started")

    def __init__(
        self, recording: "list[Span]", parent_id: int, name: str, attributes: Attributes, kind: Kind, started: int
    ) -> None:
        """Start a span."""
        self.recording = recording
        self.id = getrandbits(_SPAN_ID_BITS) or 1
        self.parent_id = parent_id
        self.name = name
        self.attributes = attributes
        self.kind = kind
        self.started = started
        self.ended = 0
        self.error = ""

    def annotate(self, attributes: Attributes) -> None:
        """Add attributes."""
        self.attributes = {**self.attributes, **attributes}

    def end(self, error: BaseException | None = None) -> None:
        """End the span; `error` is the exception that ended it."""
        self.ended = time.time_ns()
        if error is not None:
            self.error = type(error).__name__
        self.recording.append(self)


_current: ContextVar[tuple[Span, ...]] = ContextVar("recmesh_spans", default=())


def current() -> tuple[Span, ...]:
    """The spans that the current task works for: usually one, several for a batch, none outside a recorded request."""
    return _current.get()


def begin(name: str, parent_id: int, attributes: Attributes, kind: Kind = Kind.SERVER) -> Span:
    """Begin to record the request, or the job, of the current task. Returns its span, which the caller ends."""
    root = Span([], parent_id, name, attributes, kind, time.time_ns())
    _current.set((root,))
    return root


def annotate(attributes: Attributes) -> None:
    """Add attributes to the current span."""
    for recorded in _current.get():
        recorded.annotate(attributes)


def span(
    name: str, attributes: Attributes = _NO_ATTRIBUTES, kind: Kind = Kind.INTERNAL
) -> AbstractContextManager[None]:
    """A child of the current span for the duration of a block, which may run in another thread.

    Args:
        name: Of few possible values.
        attributes: Known at the start.
        kind: CLIENT for calls to a store or to another service.
    """
    parents = _current.get()
    return _Block(parents, name, attributes, kind) if parents else _UNRECORDED


class _Block(AbstractContextManager[None]):
    """A block with a span for each request that it works for."""

    __slots__ = ("_attributes", "_before", "_kind", "_name", "_parents", "_spans")

    def __init__(self, parents: tuple[Span, ...], name: str, attributes: Attributes, kind: Kind) -> None:
        self._parents = parents
        self._name = name
        self._attributes = attributes
        self._kind = kind

    def __enter__(self) -> None:
        started = time.time_ns()
        name, attributes, kind = self._name, self._attributes, self._kind
        children = [Span(parent.recording, parent.id, name, attributes, kind, started) for parent in self._parents]
        self._spans = tuple(children)
        self._before = _current.get()
        _current.set(self._spans)

    def __exit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        for recorded in self._spans:
            recorded.end(error)
        _current.set(self._before)


class _Unrecorded(AbstractContextManager[None]):
    """A block outside a recorded request."""

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


_UNRECORDED = _Unrecorded()


@contextmanager
def on_behalf_of(parents: Iterable[tuple[Span, ...]]) -> Iterator[None]:
    """Work for several requests at once: spans of the block become children of all of these."""
    before = _current.get()
    _current.set(tuple(parent for spans in parents for parent in spans))
    try:
        yield
    finally:
        _current.set(before)


def rpc(path: str) -> Attributes:
    """The attributes of a gRPC call.

    Args:
        path: `/package.Service/Method`.
    """
    return {"rpc.system.name": "grpc", "rpc.method": path.lstrip("/")}


def server(target: str) -> Attributes:
    """The attributes of a call's receiver; none for a socket file.

    Args:
        target: `host:port`, or a gRPC target that ends in it.
    """
    host, _, port = target.rpartition("/")[2].rpartition(":")
    return {"server.address": host.strip("[]"), "server.port": int(port)} if host and port.isdecimal() else {}
