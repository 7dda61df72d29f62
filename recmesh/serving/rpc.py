"""Method handlers, and message classes that leave embedded messages serialized.

A field of a message type and a field of type bytes have the same form on the wire. `with_raw_fields` copies a message
class and declares some of its fields as bytes, so a stored message is put into an answer, or taken out of one, without
being decoded (docs/adr/017-raw-protobuf-fields.md).
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, NoReturn, Protocol, TypeAlias, cast

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message

from recmesh.contract import MAX_REQUEST_BYTES
from recmesh.errors import InvalidRequest
from recmesh.serving.tracing import Metadata

Method: TypeAlias = Callable[[Any, "Context"], Awaitable[Any]]
"""The implementation of a unary method: the request and its context to the response."""

_Edit: TypeAlias = Callable[[descriptor_pb2.FileDescriptorProto], None]


def with_raw_fields(message: type[Message], *fields: str) -> type[Message]:
    """A message class with the wire format of `message`, in which the message fields `fields` have the type bytes."""
    pool = descriptor_pool.DescriptorPool()
    file = cast("FileDescriptor", message.DESCRIPTOR.file)
    _add_with_imports(pool, file, _as_bytes(message.DESCRIPTOR.name, fields))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(message.DESCRIPTOR.full_name))


class Context(Protocol):
    """What is known about a call besides its request. gRPC's own contexts have this form."""

    def invocation_metadata(self) -> Metadata | None:
        """What came with the request: keys in lower case, and values."""
        ...

    def time_remaining(self) -> float | None:
        """Seconds until the caller's deadline; None if it has none."""
        ...

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: tuple[tuple[str, str], ...] = ()
    ) -> NoReturn:
        """Answer with an error: raises an exception that ends the call."""
        ...


class Received(NamedTuple):
    """A request as it arrives at the guard.

    Attributes:
        read: Reads the message, once it is known that the caller may call. Raises InvalidRequest. gRPC would log an
            error of its own deserializer with a traceback, and answer UNKNOWN.
        size: Its size in bytes.
    """

    read: Callable[[], Message]
    size: int


def handlers(
    service: ServiceDescriptor, methods: Mapping[str, Method], max_bytes: int = MAX_REQUEST_BYTES
) -> dict[str, "grpc.RpcMethodHandler[Any, Any]"]:
    """Handlers for all methods of a service, by the name of the method.

    Args:
        service: Defines the methods and their requests.
        methods: Implementation by method name. It returns the response of the definition, or one `with_raw_fields`.
            Requests arrive at the interceptor as `Received`, at the methods as messages.
        max_bytes: The largest request.

    Raises:
        KeyError: `methods` lacks a method of the service.
    """
    return {
        method.name: grpc.unary_unary_rpc_method_handler(
            methods[method.name],
            request_deserializer=receiver(message_factory.GetMessageClass(method.input_type), max_bytes),
            response_serializer=_serialize,
        )
        for method in service.methods
    }


def receiver(request: type[Message], max_bytes: int) -> Callable[[bytes], Received]:
    """A deserializer for requests of up to `max_bytes`."""

    def read(content: bytes) -> Message:
        try:
            return request.FromString(content)
        except DecodeError:
            raise InvalidRequest(f"the request is no {request.DESCRIPTOR.full_name}") from None

    def receive(content: bytes) -> Received:
        size = len(content)
        if size > max_bytes:
            return unreadable(f"the request has {size:,} bytes: at most {max_bytes:,}", size)
        return Received(partial(read, content), size)

    return receive


def unreadable(text: str, size: int) -> Received:
    """A request of which it is known that it is invalid, and why."""

    def read() -> Message:
        raise InvalidRequest(text)

    return Received(read, size)


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


def _as_bytes(name: str, fields: tuple[str, ...]) -> _Edit:
    def edit(file: descriptor_pb2.FileDescriptorProto) -> None:
        (message,) = (candidate for candidate in file.message_type if candidate.name == name)
        for field in message.field:
            if field.name in fields:
                field.type = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES
                field.ClearField("type_name")
        del file.service[:]

    return edit


def _add_with_imports(pool: descriptor_pool.DescriptorPool, file: FileDescriptor, edit: _Edit) -> None:
    for imported in file.dependencies:
        _add_with_imports(pool, imported, lambda _file: None)
    proto = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(proto)
    edit(proto)
    pool.Add(proto)
