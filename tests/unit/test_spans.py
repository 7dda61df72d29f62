"""Spans: their parents, how they end, and which requests they belong to."""

import contextvars
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

from recmesh import spans
from recmesh.spans import Kind, Span

T = TypeVar("T")


@pytest.fixture
def root() -> Iterator[Span]:
    """The span of a request that the test answers."""
    with isolated():
        yield spans.begin("request", 7, {"a": 1})


class isolated:  # noqa: N801 - used like a function
    """Leaves no current span behind."""

    def __enter__(self) -> None:
        self._before = spans.current()

    def __exit__(self, *_: object) -> None:
        spans._current.set(self._before)


def in_request(action: Callable[[], T]) -> tuple[Span, T]:
    """The span and the result of a request of its own."""

    def request() -> tuple[Span, T]:
        span = spans.begin("request", 0, {})
        result = action()
        span.end()
        return span, result

    return contextvars.Context().run(request)


def test_a_span_has_the_current_one_as_parent(root: Span) -> None:
    with spans.span("outer", {"b": 2}), spans.span("inner", kind=Kind.CLIENT):
        pass
    with spans.span("next"):
        pass
    root.end()

    inner, outer, following, request = root.recording
    assert [span.name for span in root.recording] == ["inner", "outer", "next", "request"]
    assert (inner.parent_id, outer.parent_id, following.parent_id) == (outer.id, root.id, root.id)
    assert (inner.kind, outer.kind, request.kind) == (Kind.CLIENT, Kind.INTERNAL, Kind.SERVER)
    assert (request.parent_id, request.attributes, outer.attributes) == (7, {"a": 1}, {"b": 2})
    assert request.started <= outer.started <= inner.started <= inner.ended <= outer.ended <= request.ended


def test_attributes_are_added_to_the_current_span_only(root: Span) -> None:
    shared = {"shared": True}
    with spans.span("first", shared):
        spans.annotate({"b": 2})
    with spans.span("second", shared):
        pass
    spans.annotate({"c": 3})

    assert [span.attributes for span in root.recording] == [{"shared": True, "b": 2}, {"shared": True}]
    assert root.attributes == {"a": 1, "c": 3}


def test_an_error_ends_a_span_and_passes_through(root: Span) -> None:
    with pytest.raises(ValueError, match="user 5"), spans.span("failing"):
        raise ValueError("user 5")

    assert root.recording[0].error == "ValueError"
    assert spans.current() == (root,)


def test_a_block_in_another_thread_belongs_to_the_request(root: Span) -> None:
    block = spans.span("run")

    def run() -> None:
        with block:
            assert spans.current()[0].name == "run"
        assert spans.current() == ()

    thread = threading.Thread(target=run, args=())
    thread.start()
    thread.join()

    assert [(span.name, span.parent_id) for span in root.recording] == [("run", root.id)]


def test_work_for_several_requests_has_a_span_in_each() -> None:
    first, first_spans = in_request(spans.current)
    second, second_spans = in_request(spans.current)

    with spans.on_behalf_of([first_spans, (), second_spans]), spans.span("search"):
        spans.annotate({"queries": 2})
    assert spans.current() == ()

    for request in (first, second):
        (search,) = (span for span in request.recording if span.name == "search")
        assert (search.parent_id, search.attributes) == (request.id, {"queries": 2})
    assert first.recording[-1].id != second.recording[-1].id


def test_outside_a_request_nothing_is_recorded() -> None:
    with spans.span("nothing"):
        spans.annotate({"a": 1})
        assert spans.current() == ()


@pytest.mark.parametrize(
    ("target", "attributes"),
    [
        ("127.0.0.1:8910", {"server.address": "127.0.0.1", "server.port": 8910}),
        ("dns:///shop-um:8910", {"server.address": "shop-um", "server.port": 8910}),
        ("[::1]:8910", {"server.address": "::1", "server.port": 8910}),
        ("unix:/tmp/milvus.sock", {}),
    ],
)
def test_the_receiver_of_a_call_is_named(target: str, attributes: dict[str, object]) -> None:
    assert spans.server(target) == attributes
