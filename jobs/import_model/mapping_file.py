"""Reading the mapping file of a model."""

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from recmesh.errors import ReleaseError
from recmesh.features.mapping import ModelMapping
from recmesh.yaml_text import TextLoader

MAPPING = "mapping.yaml"

T = TypeVar("T", bound=BaseModel)


class TowersMapping(BaseModel):
    """The mappings of both towers, in one file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    user: ModelMapping
    item: ModelMapping


def read_ranker(path: Path) -> ModelMapping:
    """Read the mapping of a ranker.

    Raises:
        ReleaseError: The file is missing or wrong; the message names the place.
    """
    content = _content(path)
    _read_vocabularies(content, path.parent)
    return _parsed(path, ModelMapping, content)


def read_towers(path: Path) -> TowersMapping:
    """Read the mappings of both towers.

    Raises:
        ReleaseError: The file is missing or wrong; the message names the place.
    """
    content = _content(path)
    for side in content.values() if isinstance(content, dict) else ():
        _read_vocabularies(side, path.parent)
    return _parsed(path, TowersMapping, content)


def _content(path: Path) -> Any:
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=TextLoader)
    except FileNotFoundError:
        raise ReleaseError(
            f"{path}: no such file: it describes the inputs of the model; docs/models.md has an example to start from"
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ReleaseError(f"{path}: {' '.join(str(error).split())}") from None


def _read_vocabularies(mapping: Any, folder: Path) -> None:
    """Replace each `vocabulary: FILE` by the content of the file. Malformed mappings are left to the parser."""
    inputs = mapping.get("inputs") if isinstance(mapping, dict) else None
    for given in inputs.values() if isinstance(inputs, dict) else ():
        for slot in given if isinstance(given, list) else [given]:
            if isinstance(slot, dict) and isinstance(slot.get("vocabulary"), str):
                slot["vocabulary"] = _vocabulary(folder / slot["vocabulary"])


def _vocabulary(path: Path) -> dict[str, int]:
    """Read lines of a value, a tab and an id."""
    vocabulary: dict[str, int] = {}
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                value, tab, code = line.rstrip("\n").rpartition("\t")
                if not tab or not code.strip().isdecimal():
                    raise ReleaseError(f"{path}: line {number}: expected a value, a tab and an id, not {line[:40]!r}")
                if value in vocabulary:
                    raise ReleaseError(f"{path}: line {number}: {value!r} already has an id")
                vocabulary[value] = int(code)
    except (OSError, UnicodeDecodeError) as error:
        raise ReleaseError(f"{path}: cannot be read as a vocabulary: {error}") from None
    return vocabulary


def _parsed(path: Path, kind: type[T], content: Any) -> T:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "slots") or "the file"
        raise ReleaseError(f"{path}: {where}: {first['msg'].removeprefix('Value error, ')}") from None
