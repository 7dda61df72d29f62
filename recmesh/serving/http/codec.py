"""Messages as JSON, by the JSON mapping of protobuf, and in binary.

Requests are read by pydantic-core rather than by protobuf's `json_format`, which takes seconds for a hostile request of
1 MiB and repeats values of requests in its errors (docs/adr/036-http-beside-grpc.md). Both read the same messages.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import DecodeError, Message
from pydantic_core import CoreSchema, SchemaValidator, ValidationError, core_schema

from recmesh.contract import MAX_EXCLUDED
from recmesh.errors import InvalidRequest

JSON, PROTO = "application/json", "application/proto"
"""The content types of requests and of their answers."""

_MAX_ENTRIES = MAX_EXCLUDED
"""The largest number of entries that any field of a request to `as` or feed may have."""


@dataclass(frozen=True)
class Codec:
    """How the messages of one method are read and written.

    Attributes:
        decode: The request that a body holds. Raises InvalidRequest if it holds none.
        encode: The body of an answer, which may have raw fields (`recmesh.serving.rpc.with_raw_fields`).
    """

    decode: Callable[[bytes], Message]
    encode: Callable[[Message], bytes]


def codecs(method: MethodDescriptor) -> dict[str, Codec]:
    """The codecs of a method, by content type."""
    request, answer = (
        message_factory.GetMessageClass(method.input_type),
        message_factory.GetMessageClass(method.output_type),
    )
    return {JSON: Codec(json_reader(request), _json_writer(answer)), PROTO: Codec(_reader(request), _write)}


def json_reader(request: type[Message]) -> Callable[[bytes], Message]:
    """A function that reads a message from JSON."""
    validator = SchemaValidator(_message_schema(cast(Descriptor, request.DESCRIPTOR)))
    name = request.DESCRIPTOR.full_name

    def read(body: bytes) -> Message:
        try:
            return request(**validator.validate_json(body))
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            place = _place(first["loc"])
            raise InvalidRequest(f"the JSON is no {name}: {f'{place}: ' if place else ''}{first['msg']}") from None
        except (ValueError, TypeError) as error:  # A field that the message does not have.
            raise InvalidRequest(f"the JSON is no {name}: {error}") from None

    return read


def _json_writer(answer: type[Message]) -> Callable[[Message], bytes]:
    def write(message: Message) -> bytes:
        if not isinstance(message, answer):
            message = answer.FromString(message.SerializeToString())
        return json_format.MessageToJson(message, indent=None, ensure_ascii=False).encode()

    return write


def _reader(request: type[Message]) -> Callable[[bytes], Message]:
    def read(body: bytes) -> Message:
        try:
            return request.FromString(body)
        except DecodeError:
            raise InvalidRequest(f"the request is no {request.DESCRIPTOR.full_name}") from None

    return read


def _write(message: Message) -> bytes:
    return message.SerializeToString()


def _place(location: tuple[int | str, ...]) -> str:
    """The path of a value in a request, such as `actions[2].userId`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in location).removeprefix(".")


def _message_schema(message: Descriptor) -> CoreSchema:
    # Fields that the message does not have are let through to its constructor, which refuses the first one: pydantic
    # would make an error of each.
    fields = {field.name: _field(field) for field in message.fields}
    return core_schema.typed_dict_schema(fields, extra_behavior="allow")


def _field(field: FieldDescriptor) -> core_schema.TypedDictField:
    # As in protobuf, null means that the field is not set, and the name of the .proto file is accepted as well.
    schema = core_schema.nullable_schema(_value_schema(field))
    names: list[list[str | int]] = [[field.json_name], [field.name]]
    return core_schema.typed_dict_field(schema, required=False, validation_alias=names)


def _value_schema(field: FieldDescriptor) -> CoreSchema:
    message = field.message_type
    if message is not None and message.GetOptions().map_entry:
        key, value = (_SCALARS[message.fields_by_name[name].cpp_type] for name in ("key", "value"))
        return core_schema.dict_schema(key, value, max_length=_MAX_ENTRIES, fail_fast=True)
    schema = _SCALARS[field.cpp_type] if message is None else _message_schema(message)
    return core_schema.list_schema(schema, max_length=_MAX_ENTRIES, fail_fast=True) if field.is_repeated else schema


_LARGEST_FLOAT = 2.0**128 - 2.0**104
_TEXT = core_schema.str_schema(strict=True)


def _one_of(needed: str, *schemas: CoreSchema) -> CoreSchema:
    return core_schema.union_schema(
        list(schemas), mode="left_to_right", custom_error_type="value", custom_error_message=f"{needed} is needed"
    )


def _integer(lowest: int, highest: int) -> CoreSchema:
    """A JSON number without a fraction, or a text of digits: JavaScript's numbers have 53 bits."""
    lax = core_schema.int_schema(ge=lowest, le=highest)
    return _one_of(
        f"a whole number from {lowest} to {highest}",
        core_schema.int_schema(strict=True, ge=lowest, le=highest),
        core_schema.chain_schema([core_schema.float_schema(strict=True, allow_inf_nan=False), lax]),
        core_schema.chain_schema([_TEXT, lax]),
    )


def _number(largest: float) -> CoreSchema:
    """A JSON number, or a text such as "NaN"."""
    return _one_of(
        "a number",
        core_schema.float_schema(strict=True, ge=-largest, le=largest),
        core_schema.chain_schema([_TEXT, core_schema.float_schema()]),
    )


_SCALARS: dict[Any, CoreSchema] = {
    FieldDescriptor.CPPTYPE_STRING: _TEXT,
    FieldDescriptor.CPPTYPE_BOOL: core_schema.bool_schema(strict=True),
    FieldDescriptor.CPPTYPE_UINT32: _integer(0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: _integer(0, 2**64 - 1),
    FieldDescriptor.CPPTYPE_INT64: _integer(-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_FLOAT: _number(_LARGEST_FLOAT),
    FieldDescriptor.CPPTYPE_DOUBLE: _number(sys.float_info.max),
}
