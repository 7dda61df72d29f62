"""Renames the outputs of an ONNX file, which paddle2onnx names after Paddle's internals.

An ONNX file is one protobuf message. This module parses only the fields that lead to names, and copies everything else
unchanged.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_NAME = "name"
# Message -> number of each field that leads to a name -> content of the field.
_FIELDS = {
    "model": {7: "graph"},
    "graph": {1: "node", 12: "output"},
    "node": {1: _NAME, 2: _NAME},
    "output": {1: _NAME},
}


def name_outputs(path: Path, names: Sequence[str]) -> None:
    """Rename the outputs of an ONNX file in place.

    Args:
        path: The file.
        names: The new names, in the order of the outputs.

    Raises:
        ValueError: The file is not an ONNX file, or has another number of outputs.
    """
    model = path.read_bytes()
    graph = next(content for number, content, _ in _fields(model) if number == 7)
    outputs = [content for number, content, _ in _fields(graph) if number == 12]
    old = [next(content for number, content, _ in _fields(output) if number == 1) for output in outputs]
    path.write_bytes(_renamed("model", model, dict(zip(old, map(str.encode, names), strict=True))))


def _renamed(message: str, data: bytes, names: Mapping[bytes, bytes]) -> bytes:
    parts = []
    for number, content, raw in _fields(data):
        inside = _FIELDS[message].get(number)
        if inside is None:
            parts.append(raw)
            continue
        changed = names.get(content, content) if inside == _NAME else _renamed(inside, content, names)
        parts += [_varint(number << 3 | _BYTES), _varint(len(changed)), changed]
    return b"".join(parts)


def _fields(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield for each field of a message its number, its content if it is length-delimited, and its entire encoding."""
    at = 0
    while at < len(data):
        begin = at
        key, at = _read_varint(data, at)
        kind = key & 7
        content = b""
        if kind == _VARINT:
            _, at = _read_varint(data, at)
        elif kind == _BYTES:
            length, at = _read_varint(data, at)
            content = data[at : at + length]
            at += length
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"not an ONNX file: wire type {kind} at byte {begin}")
        yield key >> 3, content, data[begin:at]


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
        shift += 7


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
