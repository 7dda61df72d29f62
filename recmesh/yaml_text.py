"""YAML files that people write: scalars stay text, and errors name the line, the column and the key."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, TypeAlias

import yaml

from recmesh.errors import DataError
from recmesh.spelling import did_you_mean

_MAX_MESSAGE = 500
_MAX_ECHO = 40
_MAX_LINES = 10

Place: TypeAlias = tuple[int, int]
"""A line and a column, from 1 up."""


class TextLoader(yaml.BaseLoader):
    """A loader that keeps scalars as text, and refuses duplicate keys and keys that are no text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Build a mapping.

        Raises:
            yaml.MarkedYAMLError: A key occurs twice, or is no text.
        """
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be a text", problem_mark=key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f'key "{key.value}" occurs twice', problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class Document:
    """A YAML document that knows where its values are.

    Attributes:
        content: Mappings, lists and texts; None if the file is empty.
    """

    def __init__(self, text: bytes, name: str, max_bytes: int) -> None:
        """Read a document.

        Args:
            text: YAML.
            name: The file that error messages name.
            max_bytes: The largest file.

        Raises:
            DataError: It is too long, not UTF-8, or no YAML. The message is one line, and names line and column.
        """
        self._name = name
        if len(text) > max_bytes:
            raise self._error(_place_in(text, max_bytes), f"the file is longer than {max_bytes:,} bytes")
        try:
            loader = TextLoader(text.decode())
            try:
                self._node = loader.get_single_node()
                self.content: object = loader.construct_document(self._node) if self._node else None
            finally:
                loader.dispose()
        except UnicodeDecodeError as error:
            raise self._error(_place_in(text, error.start), "is not UTF-8") from None
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            raise self._error(place, f"invalid YAML: {error.problem or error.context}") from None
        except yaml.reader.ReaderError as error:
            place = _place_in(text.decode().encode("utf-32-le"), 4 * error.position, width=4)
            raise self._error(place, f"invalid YAML: {error.reason}") from None
        except RecursionError:
            raise self._error((1, 1), "is nested too deeply") from None

    def place(self, path: Sequence[int | str], *, of_key: bool = False) -> Place:
        """The place of a value, or of the closest one around it; of the last key if `of_key`."""
        node = self._node
        if node is None:
            return 1, 1
        for part in path:
            if isinstance(node, yaml.MappingNode):
                # pydantic also names the kind of a union's member in its paths, which is no key.
                key, value = next(((key, value) for key, value in node.value if key.value == part), (node, node))
                node = key if of_key and part == path[-1] else value
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                node = node.value[part]
        return node.start_mark.line + 1, node.start_mark.column + 1

    def error(self, path: Sequence[int | str], message: str) -> DataError:
        """An error about the value at a path."""
        return self._error(self.place(path), message)

    def invalid(self, errors: Iterable[Any], say: Callable[[Any], str]) -> DataError:
        """The first error of those that pydantic found in the content.

        Args:
            errors: What `ValidationError.errors` returns.
            say: Makes the message of one of them.
        """
        # A misspelt key says more than the missing one that it was meant to be.
        ordered = sorted(
            (detail["type"] == "missing", self._place_of(detail), number, detail)
            for number, detail in enumerate(errors)
        )
        _, place, _, first = ordered[0]
        others = sorted({line for _, (line, _), _, _ in ordered} - {place[0]})
        more = f"; see also line {', '.join(map(str, others[:_MAX_LINES]))}" if others else ""
        return self._error(place, say(first) + more)

    def check_names(self, key: str, names: Iterable[str], what: str) -> None:
        """Check that no two entries of a list have the same name.

        Args:
            key: Of the list.
            names: The `name` of each entry, in their order.
            what: An entry, in a word.

        Raises:
            DataError: The error is about the second entry, and names the line of the first one.
        """
        positions = dict[str, int]()
        for position, name in enumerate(names):
            if name in positions:
                line, _ = self.place((key, positions[name], "name"))
                message = f'name: "{name}" is the name of the {what} in line {line}; choose another one'
                raise self.error((key, position, "name"), message)
            positions[name] = position

    def _place_of(self, error: Any) -> Place:
        path, kind = error["loc"], error["type"]
        if kind == "union_tag_invalid":
            path = (*path, error["ctx"]["discriminator"].strip("'"))
        return self.place(path, of_key=kind == "extra_forbidden")

    def _error(self, place: Place, message: str) -> DataError:
        text = "".join(character if character.isprintable() else " " for character in message)
        text = text if len(text) <= _MAX_MESSAGE else f"{text[:_MAX_MESSAGE]}..."
        return DataError(f"{self._name} line {place[0]}, column {place[1]}: {text}")


def reason(error: Any, allowed: Sequence[str]) -> str:
    """What is wrong, and what is allowed, for one of the errors of pydantic.

    Args:
        error: An element of `ValidationError.errors`.
        allowed: The keys of the mapping that the error is about.
    """
    kind, given = str(error["type"]), echo(error["input"])
    if kind == "extra_forbidden":
        key = str(error["loc"][-1])
        return f'unknown key "{key}"{did_you_mean(key, allowed)}; allowed: {", ".join(allowed)}'
    if kind == "missing":
        return f'the key "{error["loc"][-1]}" is missing; allowed: {", ".join(allowed)}'
    if kind in ("too_short", "too_long"):
        bound, limit = ("least", "min_length") if kind == "too_short" else ("most", "max_length")
        return f"must have at {bound} {error['ctx'][limit]} entries, not {error['ctx']['actual_length']}"
    if kind in ("tuple_type", "list_type"):
        return f"must be a list, not {given}"
    message = str(error["msg"]).removeprefix("Value error, ")
    if kind == "value_error":
        return message
    return f"{message.replace('Input should', 'must', 1)}, not {given}"


def echo(value: object) -> str:
    """A value as messages repeat it."""
    if isinstance(value, str):
        return f'"{value}"' if len(value) <= _MAX_ECHO else f'"{value[:_MAX_ECHO]}..."'
    return "a list" if isinstance(value, list | tuple) else "a mapping"


def _place_in(text: bytes, position: int, width: int = 1) -> Place:
    """The place of a position in a text whose characters have `width` bytes, or more in UTF-8."""
    before = text[:position]
    newline = b"\n" + bytes(width - 1)
    return before.count(newline) + 1, (len(before) - before.rfind(newline) - 1) // width + 1
