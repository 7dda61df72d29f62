"""Requests that no client should send, to every method of every port: each gets an answer, or a status that blames it.

`make test` sends about 2,000, `make test-long` 100,000.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recmesh.contract import SCENARIOS, ServiceName
from tests.calls import AS, CM, RANK, RECALL, UM, Method
from tests.processes import Service
from tests.shop import Shop

METHODS: dict[ServiceName, Method[Any, Any]] = {"um": UM, "cm": CM, "recall": RECALL, "rank": RANK, "as": AS}
BATCH = 25
"""Requests in one example, sent at once."""

# A request may be wrong, or too much at the moment. Nothing else is its fault.
ALLOWED = {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED}

_INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


_SPECIAL: dict[str, st.SearchStrategy[Any]] = {
    # Mostly scenarios that exist, and seldom a cursor: other texts are refused before the rest of the request is read.
    "scenario": st.sampled_from(["", *SCENARIOS, *SCENARIOS, "none"]),
    "cursor": st.sampled_from([""] * 9 + ["no cursor"]),
    "field": st.sampled_from(["cate", "brand", "sku_id", "price", "none"]),
}


def texts(known: Sequence[str]) -> st.SearchStrategy[str]:
    """Ids that exist, values of fields, and anything else."""
    return st.one_of(
        st.sampled_from([*known, "", "-1", "0", "3.0", "nan", "1e400", "two_tower", "popular", "new", "view"]),
        st.text(max_size=12),
        st.integers(100, 2_000).map("x".__mul__),
    )


def values(field: FieldDescriptor, known: Sequence[str], depth: int) -> st.SearchStrategy[Any]:
    """Values of a field that is not repeated."""
    if field.message_type is not None:
        return messages(field.message_type, known, depth + 1)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.binary(max_size=40)
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return texts(known)
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return st.booleans()
    if field.cpp_type == FieldDescriptor.CPPTYPE_FLOAT:
        return st.floats(width=32)
    if field.cpp_type == FieldDescriptor.CPPTYPE_DOUBLE:
        return st.floats()
    lowest, highest = _INTEGERS[field.cpp_type]
    return st.one_of(st.integers(0, 60).filter(lambda value: value <= highest), st.integers(lowest, highest))


def messages(descriptor: Descriptor, known: Sequence[str], depth: int = 0) -> st.SearchStrategy[dict[str, Any]]:
    """Messages, as the keyword arguments of their classes. Each field may be missing."""
    fields: dict[str, st.SearchStrategy[Any]] = {}
    for field in descriptor.fields:
        if depth > 2 and field.message_type is not None:
            continue
        if (special := _SPECIAL.get(field.name)) is not None:
            fields[field.name] = special
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            entry = field.message_type.fields_by_name
            pair = [values(entry[name], known, depth) for name in ("key", "value")]
            fields[field.name] = st.dictionaries(*pair, max_size=3)
        elif field.is_repeated:
            fields[field.name] = st.lists(values(field, known, depth), max_size=6)
        else:
            fields[field.name] = values(field, known, depth)
    return st.fixed_dictionaries({}, optional=fields)


def damaged(content: bytes, damage: tuple[int, bytes]) -> bytes:
    """Bytes in place of those at a position."""
    place, junk = damage
    start = place % (len(content) + 1)
    return content[:start] + junk + content[start + len(junk) :]


def contents(method: Method[Any, Any], known: Sequence[str]) -> st.SearchStrategy[list[bytes]]:
    """Serialized requests: well-formed ones, damaged ones, and bytes that never were a message."""
    formed = messages(method.request.DESCRIPTOR, known).map(lambda given: method.request(**given).SerializeToString())
    damages = st.tuples(st.integers(0, 10_000), st.binary(min_size=1, max_size=6))
    one = st.one_of(formed, st.builds(damaged, formed, damages), st.binary(max_size=80))
    return st.lists(one, min_size=BATCH, max_size=BATCH)


async def statuses(target: str, path: str, requests: Sequence[bytes]) -> list[tuple[grpc.StatusCode, str]]:
    """The status and the details of each request. All are sent at once."""
    async with grpc.aio.insecure_channel(target) as channel:
        call: Callable[..., Any] = channel.unary_unary(path)

        async def status(request: bytes) -> tuple[grpc.StatusCode, str]:
            try:
                await call(request, timeout=30)
            except grpc.aio.AioRpcError as error:
                return error.code(), error.details() or ""
            return grpc.StatusCode.OK, ""

        return await asyncio.gather(*map(status, requests))


def fuzz(service: ServiceName, target: str, shop: Shop, examples: int) -> Counter[grpc.StatusCode]:
    """Send `examples` batches to a service. Returns how many requests got which status."""
    method, seen = METHODS[service], Counter[grpc.StatusCode]()

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(requests=contents(method, [*shop.user_ids[:5], *shop.sku_ids[:5]]))
    def send(requests: list[bytes]) -> None:
        got = asyncio.run(statuses(target, method.path, requests))
        seen.update(status for status, _ in got)
        wrong = [(*pair, request.hex()) for pair, request in zip(got, requests, strict=True) if pair[0] not in ALLOWED]
        assert not wrong, wrong[:3]

    send()
    return seen


@pytest.mark.parametrize("service", METHODS)
def test_a_strange_request_is_answered_or_refused(service: ServiceName, compact: Service, trained_shop: Shop) -> None:
    seen = fuzz(service, compact.target(service), trained_shop, examples=16)
    assert seen[grpc.StatusCode.OK] and seen[grpc.StatusCode.INVALID_ARGUMENT], seen
    assert compact.serving(service)


@pytest.mark.long
@pytest.mark.parametrize("service", METHODS)
def test_many_strange_requests_are_answered_or_refused(
    service: ServiceName, compact: Service, trained_shop: Shop
) -> None:
    fuzz(service, compact.target(service), trained_shop, examples=100_000 // BATCH // len(METHODS))
    assert compact.serving(service)
    assert "internal error" not in compact.log.read_text()
