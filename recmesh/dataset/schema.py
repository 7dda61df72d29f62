"""schema.yaml: what the columns of a data set mean."""

import codecs
import difflib
import math
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, field_validator, model_validator

from recmesh.errors import DataError

SCHEMA_FILE = "schema.yaml"

#: Fields that have a number of their own in UserInfo and ItemInfo, in the order of the seed's .dat files.
#: Every other field travels in `attributes`.
USER_WIRE_FIELDS = ("age", "sex", "city_level", "province", "city", "country")
ITEM_WIRE_FIELDS = ("brand", "shopid", "cate")

SEED_WEIGHTS = {"view": 0.1, "cart": 1.0, "order": 3.0}

#: Column names of `DataSet.users`, `.items` and `.actions` that no field may take.
RESERVED = ("user_id", "sku_id")

Kind = Literal["categorical", "numeric", "multi"]
Unit = Literal["s", "ms", "us", "ns"]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean "x"?` when `known` has something close to `word`, else the empty text."""
    known = list(known)
    same = [k for k in known if k.strip().casefold() == word.strip().casefold()]
    near = same or difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else ""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Field(_Part):
    """One field of a user or an item. `column` is its name in the files where that differs from the field's."""

    kind: Kind
    column: str | None = None
    separator: str | None = None

    @model_validator(mode="after")
    def _separator_fits_kind(self) -> "Field":
        if self.kind == "multi" and not self.separator:
            raise ValueError('kind multi needs a separator, such as separator: "|"')
        if self.kind != "multi" and self.separator is not None:
            raise ValueError(f"separator belongs to kind multi, not to {self.kind}")
        return self


# An empty `fields:` or `weights:` is an empty mapping: the loader below gives "" for it.
_empty_mapping = BeforeValidator(lambda value: {} if value == "" else value)


class Side(_Part):
    """The users or the items: the column that holds the id, and the declared fields in order."""

    id: str
    fields: Annotated[dict[str, Field], _empty_mapping] = {}

    @field_validator("fields")
    @classmethod
    def _names_are_free(cls, fields: dict[str, Field]) -> dict[str, Field]:
        for name in fields:
            if name in RESERVED or not name:
                raise ValueError(f'a field cannot be named "{name}"; name it otherwise and give column: "{name}"')
        return fields

    def column_of(self, name: str) -> str:
        """The column of the files that holds field `name`."""
        return self.fields[name].column or name


class Action(_Part):
    """The columns of actions.*.

    `unit` declares epoch times; without it times are ISO 8601 text (UTC where no offset is written). Without `type`
    every action has the one type that `weights` names, or "action". A type that `weights` does not name weighs 1; the
    report says so.
    """

    user: str
    item: str
    time: str
    unit: Unit | None = None
    type: str | None = None
    value: str | None = None
    weights: Annotated[dict[str, float], _empty_mapping] = {}

    @field_validator("weights")
    @classmethod
    def _weights_are_usable(cls, weights: dict[str, float]) -> dict[str, float]:
        for name, weight in weights.items():
            if not math.isfinite(weight) or weight < 0:
                raise ValueError(f"the weight of {name} must be a number of at least 0, not {weight}")
        if weights and not any(weights.values()):
            raise ValueError("at least one weight must be above 0")
        return weights

    @model_validator(mode="after")
    def _one_type_without_column(self) -> "Action":
        if self.type is None and len(self.weights) > 1:
            raise ValueError("weights name several types, but no type: column is declared")
        return self

    @property
    def only_type(self) -> str:
        """The type of every action where no column holds it."""
        return next(iter(self.weights), "action")


class Schema(_Part):
    """What the columns of a data set mean; the content of its schema.yaml."""

    user: Side
    item: Side
    action: Action
    repeats: bool = True
    missing: tuple[str, ...] = ("",)
    encoding: str = "utf-8"

    @field_validator("missing")
    @classmethod
    def _empty_is_missing(cls, missing: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(("", *missing)))

    @field_validator("encoding")
    @classmethod
    def _encoding_exists(cls, encoding: str) -> str:
        try:
            return codecs.lookup(encoding).name
        except LookupError:
            raise ValueError(f'unknown encoding "{encoding}"; for example utf-8, gb18030, latin-1') from None

    @classmethod
    def load(cls, folder: Path) -> "Schema":
        """The schema of the data set in `folder`; the seed's own where it holds .dat files and no schema.yaml.

        Raises DataError that names the file and the key.
        """
        path = folder / SCHEMA_FILE
        if path.is_file():
            return cls.parse(path.read_bytes(), str(path))
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder")
        if any((folder / name).exists() for name in ("users.dat", "products.dat")):
            return seed_schema()
        near = did_you_mean(SCHEMA_FILE, (p.name for p in folder.iterdir()))
        raise DataError(f"{path}: missing; a data set folder needs it{near}")

    @classmethod
    def parse(cls, text: bytes | str, name: str = SCHEMA_FILE) -> "Schema":
        """The schema that `text` (YAML) says; `name` is the file that errors name."""
        try:
            # Every scalar stays text (no "no" -> False, no 007 -> 7); pydantic makes numbers where a number is due.
            content = yaml.load(text, Loader=TextLoader)
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise DataError(f"{name}: not readable as YAML: {' '.join(str(error).split())}") from error
        if not isinstance(content, dict):
            raise DataError(f"{name}: must be a mapping with the keys user, item and action")
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise DataError(f"{name}: {'; '.join(_say(e) for e in error.errors())}") from error

    def weight(self, action_type: str) -> float:
        """How much an action of this type counts."""
        return self.action.weights.get(action_type, 1.0)

    def dump(self) -> str:
        """The schema as YAML."""
        content = self.model_dump(exclude_none=True)
        content["missing"] = list(self.missing)
        return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def seed_schema() -> Schema:
    """The schema of a folder in the seed's form: users.dat, products.dat and an actions.* with the usual names."""
    return Schema(
        user=Side(id="user_id", fields={name: Field(kind="categorical") for name in USER_WIRE_FIELDS}),
        item=Side(id="sku_id", fields={name: Field(kind="categorical") for name in ITEM_WIRE_FIELDS}),
        action=Action(user="user_id", item="sku_id", time="action_time", type="type", weights=dict(SEED_WEIGHTS)),
        missing=("", "-1"),
    )


class TextLoader(yaml.BaseLoader):
    """YAML whose scalars are all text and whose keys are unique."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f'key "{key.value}" is there twice', problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_KEYS: dict[str, type[BaseModel]] = {"": Schema, "user": Side, "item": Side, "action": Action}


def _say(error: Any) -> str:
    """One pydantic error as `key: what is wrong; hint`."""
    place = [str(p) for p in error["loc"]]
    key = ".".join(place) or "schema"
    if error["type"] == "extra_forbidden":
        parent = ".".join(place[:-1])
        model = _KEYS.get(parent, Field)
        return f"{key}: unknown key{did_you_mean(place[-1], model.model_fields)}"
    if error["type"] == "missing":
        return f"{key}: missing"
    if error["type"] == "literal_error":
        allowed = error["ctx"]["expected"].replace("'", "")
        return f'{key}: "{error["input"]}" is not one of {allowed}'
    message = error["msg"].removeprefix("Value error, ")
    return f"{key}: {message[0].lower()}{message[1:]}"
