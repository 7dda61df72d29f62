"""Method handlers whose answers may be spliced from bytes that are stored already serialized.

`with_raw_fields` makes a copy of a message type in which some fields that hold messages are `bytes`: the same on the
wire, so a stored message becomes part of an answer (and is cut out of one) without being decoded.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message

Method = Callable[[Any, Any], Awaitable[Any]]


def with_raw_fields(message: type[Message], *fields: str) -> Any:
    """A message class like `message`, but with `fields` (of message type) as bytes."""
    pool = descriptor_pool.DescriptorPool()
    _add_with_imports(pool, message.DESCRIPTOR.file, _as_bytes(message.DESCRIPTOR.name, fields))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(message.DESCRIPTOR.full_name))


def handlers(service: ServiceDescriptor, methods: Mapping[str, Method]) -> grpc.GenericRpcHandler:
    """Handlers of a service's methods by name; each answers the method's message or a with_raw_fields of it.

    Raises:
        KeyError: a method of the service is missing.
    """
    return grpc.method_handlers_generic_handler(
        service.full_name,
        {
            method.name: grpc.unary_unary_rpc_method_handler(
                methods[method.name],
                request_deserializer=message_factory.GetMessageClass(method.input_type).FromString,
                response_serializer=_serialize,
            )
            for method in service.methods
        },
    )


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


def _as_bytes(name: str, fields: tuple[str, ...]) -> Callable[[descriptor_pb2.FileDescriptorProto], None]:
    def change(file: descriptor_pb2.FileDescriptorProto) -> None:
        (message,) = (m for m in file.message_type if m.name == name)
        for field in message.field:
            if field.name in fields:
                field.type = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES
                field.ClearField("type_name")
        del file.service[:]

    return change


def _add_with_imports(
    pool: descriptor_pool.DescriptorPool, file: Any, change: Callable[[descriptor_pb2.FileDescriptorProto], None]
) -> None:
    for imported in file.dependencies:
        _add_with_imports(pool, imported, lambda _file: None)
    proto = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(proto)
    change(proto)
    pool.Add(proto)
