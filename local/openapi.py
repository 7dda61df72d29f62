"""`python -m local.openapi`: describe the HTTP ports of as and feed in OpenAPI, and on pages for people.

The descriptions are made from protos/ and its comments. They lie in the package, because the HTTP ports serve them
(`/openapi.json` and `/`), and in docs/openapi by a link.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
)

from local.environments import ROOT
from recmesh.contract import HTTP_PORTS, MAX_REQUEST_BYTES, ServiceName
from recmesh.pages import environment

FOLDER = ROOT / "recmesh" / "serving" / "http" / "openapi"

_SERVICES: Mapping[ServiceName, str] = {"as": "recmesh/pb/as.proto", "feed": "recmesh/pb/feed.proto"}
_EXAMPLES: Mapping[str, Mapping[str, Any]] = {
    "as_call": {"userId": "5000", "size": 10, "explain": True},
    "record_actions": {"actions": [{"userId": "5000", "skuId": "4710421090059", "type": "view", "eventId": "1"}]},
    "put_users": {"users": [{"userId": "5000", "fields": {"age": "3"}}]},
    "put_items": {"items": [{"skuId": "4710421090059", "fields": {"brand": "b1"}}]},
    "remove_items": {"skuIds": ["4710421090059"]},
    "set_availability": {"skuIds": ["4710421090059"], "available": False},
    "delete_user": {"userId": "5000"},
}
_NOTES = (
    "Requests and answers are protobuf messages in their JSON mapping: fields that are not set are left out, and "
    "64-bit integers are texts in answers. Names as in the .proto files, such as user_id, are accepted as well. A "
    "request must have no field that its message does not have, and at most "
    f"{MAX_REQUEST_BYTES:,} bytes."
)
_HEADERS = {
    "connect-timeout-ms": "Milliseconds until the caller gives up; without it, the service's default timeout.",
    "recmesh-priority": '"batch" for a call that can wait: under load it is refused before others.',
    "traceparent": "The trace that the request belongs to (W3C Trace Context).",
}
_ERROR = {
    "type": "object",
    "description": "Why there is no answer, in the form of the Connect protocol.",
    "required": ["code"],
    "properties": {
        "code": {
            "type": "string",
            "description": "The gRPC status in lower case: invalid_argument with HTTP status 400, "
            "resource_exhausted with 429, unavailable with 503, deadline_exceeded with 504, and so on.",
        },
        "message": {"type": "string", "description": "The reason, and what to do."},
    },
}
_Kind = FieldDescriptorProto
_SCALARS: Mapping[int, Mapping[str, Any]] = {
    _Kind.TYPE_STRING: {"type": "string"},
    _Kind.TYPE_BOOL: {"type": "boolean"},
    _Kind.TYPE_UINT32: {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
    _Kind.TYPE_UINT64: {"type": ["integer", "string"], "format": "uint64"},
    _Kind.TYPE_SINT64: {"type": ["integer", "string"], "format": "int64"},
    _Kind.TYPE_FLOAT: {"type": "number", "format": "float"},
    _Kind.TYPE_DOUBLE: {"type": "number", "format": "double"},
}


@dataclass(frozen=True)
class _Message:
    """A message and its comments: its own, under the empty name, and those of its fields."""

    proto: DescriptorProto
    comments: Mapping[str, str]


def descriptions() -> dict[str, str]:
    """The contents of the files in `FOLDER`, by their names.

    Raises:
        subprocess.CalledProcessError: The protos do not compile.
    """
    files = {file.name: file for file in _image().file}
    messages = {name: message for file in files.values() for name, message in _messages(file)}
    template = environment(Path(__file__).with_name("templates")).get_template("openapi.html.j2")
    made = {}
    for service, name in _SERVICES.items():
        described = _describe(service, files[name], messages)
        made[f"{service}.json"] = json.dumps(described, indent=1, ensure_ascii=False) + "\n"
        made[f"{service}.html"] = template.render(api=described, port=HTTP_PORTS[service]) + "\n"
    return made


def write() -> None:
    """Write the files. Raises CalledProcessError if the protos do not compile."""
    FOLDER.mkdir(exist_ok=True)
    for name, content in descriptions().items():
        (FOLDER / name).write_text(content)


def _image() -> FileDescriptorSet:
    buf = str(Path(sys.prefix) / "bin" / "buf")
    command = [buf, "build", "--as-file-descriptor-set", "--output", "-#format=binpb"]
    return FileDescriptorSet.FromString(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)


def _describe(service: str, file: FileDescriptorProto, messages: Mapping[str, _Message]) -> dict[str, Any]:
    (defined,) = file.service
    comments = _comments(file)
    requests, answers = set[str](), set[str]()
    paths = {}
    for number, method in enumerate(defined.method):
        _collect(method.input_type, messages, requests)
        _collect(method.output_type, messages, answers)
        path = f"/{file.package}.{defined.name}/{method.name}"
        paths[path] = {"post": _operation(method, comments.get((6, 0, 2, number), ""))}
    schemas = {
        name[1:]: _schema(messages[name], closed=name in requests - answers) for name in sorted(requests | answers)
    }
    about = comments.get((), "") or comments.get((6, 0), "")
    return {
        "openapi": "3.1.0",
        "info": {"title": f"{service} of recmesh", "version": "v0", "description": f"{about}\n\n{_NOTES}"},
        "paths": paths,
        "components": {"schemas": {**schemas, "Error": _ERROR}},
    }


def _operation(method: MethodDescriptorProto, comment: str) -> dict[str, Any]:
    return {
        "operationId": method.name,
        "summary": comment,
        "parameters": [
            {"name": name, "in": "header", "description": text, "schema": {"type": "string"}}
            for name, text in _HEADERS.items()
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": _reference(method.input_type), "example": _EXAMPLES[method.name]}
            },
        },
        "responses": {
            "200": {
                "description": "The answer.",
                "content": {"application/json": {"schema": _reference(method.output_type)}},
            },
            "default": {
                "description": "The request was not answered.",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            },
        },
    }


def _schema(message: _Message, *, closed: bool) -> dict[str, Any]:
    entries = {nested.name: nested for nested in message.proto.nested_type if nested.options.map_entry}
    properties = {}
    for field in message.proto.field:
        comment = message.comments.get(field.name)
        properties[field.json_name] = {**_field(field, entries), **({"description": comment} if comment else {})}
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if about := message.comments.get(""):
        schema["description"] = about
    if closed:
        schema["additionalProperties"] = False
    return schema


def _field(field: FieldDescriptorProto, entries: Mapping[str, DescriptorProto]) -> dict[str, Any]:
    if entry := entries.get(field.type_name.rpartition(".")[2]):
        return {"type": "object", "additionalProperties": dict(_SCALARS[entry.field[1].type])}
    value = _reference(field.type_name) if field.type == _Kind.TYPE_MESSAGE else dict(_SCALARS[field.type])
    return {"type": "array", "items": value} if field.label == _Kind.LABEL_REPEATED else value


def _reference(type_name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{type_name[1:]}"}


def _collect(name: str, messages: Mapping[str, _Message], found: set[str]) -> None:
    """Add a message, and all those in its fields, to `found`."""
    if name in found or name not in messages:
        return
    found.add(name)
    for field in messages[name].proto.field:
        _collect(field.type_name, messages, found)


def _messages(file: FileDescriptorProto) -> Iterator[tuple[str, _Message]]:
    """The messages of a file, nested ones included, by their full names with a leading dot."""
    comments = _comments(file)

    def walk(proto: DescriptorProto, place: tuple[int, ...], parent: str) -> Iterator[tuple[str, _Message]]:
        name = f"{parent}.{proto.name}"
        own = {"": comments.get(place, "")}
        own |= {field.name: comments.get((*place, 2, number), "") for number, field in enumerate(proto.field)}
        yield name, _Message(proto, own)
        for number, nested in enumerate(proto.nested_type):
            if not nested.options.map_entry:
                yield from walk(nested, (*place, 3, number), name)

    for number, proto in enumerate(file.message_type):
        yield from walk(proto, (4, number), f".{file.package}" if file.package else "")


def _comments(file: FileDescriptorProto) -> dict[tuple[int, ...], str]:
    """The comments of a file by the place of what they describe; that of the whole file, above `syntax`, by ()."""
    found: dict[tuple[int, ...], str] = {}
    for location in file.source_code_info.location:
        if tuple(location.path) == (12,):
            found[()] = "\n\n".join(map(_plain, location.leading_detached_comments))
        elif location.leading_comments:
            found[tuple(location.path)] = _plain(location.leading_comments)
    return found


def _plain(comment: str) -> str:
    """A comment as paragraphs without line breaks."""
    return "\n\n".join(" ".join(part.split()) for part in comment.split("\n\n"))


if __name__ == "__main__":
    write()
