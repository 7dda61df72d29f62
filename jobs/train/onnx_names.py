"""Gives the output of an ONNX file the name that the architecture promises: paddle2onnx names it after Paddle's
internals.

Only the few fields that hold names are described here; protobuf carries everything else through untouched.
"""

from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_STRING, _MESSAGE = 9, 11
_OPTIONAL, _REPEATED = 1, 3
_MESSAGES: dict[str, tuple[tuple[str, int, int, str], ...]] = {
    "Node": (("input", 1, _REPEATED, ""), ("output", 2, _REPEATED, "")),
    "ValueInfo": (("name", 1, _OPTIONAL, ""),),
    "Graph": (("node", 1, _REPEATED, "Node"), ("output", 12, _REPEATED, "ValueInfo")),
    "Model": (("graph", 7, _OPTIONAL, "Graph"),),
}


def name_output(path: Path, name: str) -> None:
    """Rename the only output of the model in `path`, in place."""
    model = _model_class()()
    model.ParseFromString(path.read_bytes())
    graph = model.graph
    old = graph.output[0].name
    for node in graph.node:
        for names in (node.input, node.output):
            for position, current in enumerate(names):
                if current == old:
                    names[position] = name
    graph.output[0].name = name
    path.write_bytes(model.SerializeToString())


def _model_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="recmesh/onnx_names.proto", package="recmesh_onnx", syntax="proto2")
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for field, number, label, kind in fields:
            added = described.field.add(name=field, number=number, label=label, type=_MESSAGE if kind else _STRING)
            if kind:
                added.type_name = f".recmesh_onnx.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.MessageFactory(pool).GetPrototype(pool.FindMessageTypeByName("recmesh_onnx.Model"))  # type: ignore[attr-defined]
