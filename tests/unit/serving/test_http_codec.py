"""Requests as JSON are read as protobuf's own library reads them."""

from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from recmesh.contract import MAX_EXCLUDED
from recmesh.errors import InvalidRequest
from recmesh.pb import as_pb2, feed_pb2
from recmesh.serving.http.codec import json_reader

REQUESTS: list[type[Message]] = [
    as_pb2.ASRequest,
    feed_pb2.RecordActionsRequest,
    feed_pb2.PutUsersRequest,
    feed_pb2.PutItemsRequest,
    feed_pb2.RemoveItemsRequest,
    feed_pb2.SetAvailabilityRequest,
    feed_pb2.DeleteUserRequest,
]
READERS = {request: json_reader(request) for request in REQUESTS}
SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.CPPTYPE_STRING: st.text(st.characters(exclude_categories=["Cs"])),
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
    FieldDescriptor.CPPTYPE_UINT32: st.integers(0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: st.integers(0, 2**64 - 1),
    FieldDescriptor.CPPTYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_FLOAT: st.floats(width=32),
    FieldDescriptor.CPPTYPE_DOUBLE: st.floats(),
}


def values(field: Any) -> st.SearchStrategy[Any]:
    message = field.message_type
    if message is None:
        one = SCALARS[field.cpp_type]
    elif message.GetOptions().map_entry:
        return st.dictionaries(SCALARS[FieldDescriptor.CPPTYPE_STRING], SCALARS[FieldDescriptor.CPPTYPE_STRING])
    else:
        one = fields(message)
    return st.lists(one, max_size=3) if field.is_repeated else one


def fields(message: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional={field.name: values(field) for field in message.fields})


@st.composite
def messages(draw: st.DrawFn) -> Message:
    request = draw(st.sampled_from(REQUESTS))
    return request(**draw(fields(request.DESCRIPTOR)))


@given(messages(), st.booleans())
def test_what_protobuf_writes_is_read_as_it_was(message: Message, names_of_the_protos: bool) -> None:
    text = json_format.MessageToJson(message, preserving_proto_field_name=names_of_the_protos)
    assert READERS[type(message)](text.encode()).SerializeToString(deterministic=True) == (
        message.SerializeToString(deterministic=True)
    )


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"userId": null, "history": null, "excludeIds": null}',
        '{"size": 5.0, "logId": 1e3}',
        '{"size": "5", "history": {"times": ["-1", 2], "values": ["NaN", "1.5", "-Infinity", 3]}}',
        '{"userInfo": {}}',
        '{"filter": {"conditions": [{"range": {"min": 0}}]}}',
    ],
)
def test_other_forms_of_json_are_read_as_protobuf_reads_them(text: str) -> None:
    expected = json_format.Parse(text, as_pb2.ASRequest())
    assert READERS[as_pb2.ASRequest](text.encode()).SerializeToString() == expected.SerializeToString()


@pytest.mark.parametrize(
    "text",
    [
        '{"userId": 5}',
        '{"userId": true}',
        '{"size": true}',
        '{"size": 5.5}',
        '{"size": "x"}',
        '{"size": 4294967296}',
        '{"newOnly": "true"}',
        '{"newOnly": 1}',
        '{"excludeIds": [null]}',
        '{"excludeIds": "x"}',
        '{"history": {"values": [NaN]}}',
        '{"history": {"values": [3.5e38]}}',
        '{"userInfo": {"attributes": {"a": 1}}}',
        '{"userInfo": {"attributes": {"a": null}}}',
        '{"userInfo": {"agge": "1"}}',
        '{"userId": "\\ud800"}',
        '{"userId": "a"} {}',
    ],
)
def test_what_protobuf_refuses_is_refused(text: str) -> None:
    with pytest.raises(json_format.ParseError):
        json_format.Parse(text, as_pb2.ASRequest())
    with pytest.raises(InvalidRequest, match=r"the JSON is no as\.ASRequest: "):
        READERS[as_pb2.ASRequest](text.encode())


@pytest.mark.parametrize("text", ["[]", '{"userInfo": ""}', '{"history": {"values": [true]}}'])
def test_wrong_types_that_protobufs_library_lets_through_are_refused(text: str) -> None:
    json_format.Parse(text, as_pb2.ASRequest())
    with pytest.raises(InvalidRequest, match=r"the JSON is no as\.ASRequest: "):
        READERS[as_pb2.ASRequest](text.encode())


@given(st.binary())
def test_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        assert isinstance(READERS[as_pb2.ASRequest](body), as_pb2.ASRequest)
    except InvalidRequest as error:
        assert "\n" not in str(error)


def test_the_number_of_entries_is_limited() -> None:
    def read(entries: int) -> as_pb2.ASRequest:
        message = READERS[as_pb2.ASRequest](b'{"excludeIds": [' + b",".join([b'"1"'] * entries) + b"]}")
        assert isinstance(message, as_pb2.ASRequest)
        return message

    assert len(read(MAX_EXCLUDED).exclude_ids) == MAX_EXCLUDED
    with pytest.raises(InvalidRequest, match="excludeIds: List should have at most 10000 items"):
        read(MAX_EXCLUDED + 1)
