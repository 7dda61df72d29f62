"""`schema.yaml`: what the columns of a data set mean."""

import codecs
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, field_validator, model_validator

from recmesh.contract import ITEM_FIELDS, USER_FIELDS
from recmesh.errors import DataError
from recmesh.spelling import did_you_mean
from recmesh.values import ValueRule
from recmesh.yaml_text import TextLoader

SCHEMA_FILE = "schema.yaml"

V0_WEIGHTS = {"view": 0.1, "cart": 1.0, "order": 3.0}
"""Weights of the action types in a folder without schema.yaml."""

UNDECIDED = "DECIDE"
"""The value of a key that `recmesh dataset init` leaves to the reader."""

_YEARS = "YyGDFcxs+"
"""The letters of strptime formats that contain a year."""

RESERVED = ("user_id", "sku_id")
"""Names of id columns of a DataSet, which no field may have."""

Kind = Literal["categorical", "numeric", "multi", "display"]
Unit = Literal["s", "ms", "us", "ns"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Field(_Part):
    """A field of users or items.

    Attributes:
        kind: categorical, numeric, multi (several values in one cell), or display (any text, which no model reads).
        column: Its column in the files, if that has another name.
        separator: Between the values of kind multi.
    """

    kind: Kind
    column: str | None = None
    separator: str | None = None

    @model_validator(mode="after")
    def _separator_fits_kind(self) -> "Field":
        if self.kind == "multi" and not self.separator:
            raise ValueError('kind multi needs a separator, such as separator: "|"')
        if self.kind != "multi" and self.separator is not None:
            raise ValueError(f"only kind multi has a separator, not {self.kind}")
        return self


# The loader below returns "" for an empty `fields:` or `weights:`, which means an empty mapping.
_empty_mapping = BeforeValidator(lambda value: {} if value == "" else value)


class Side(_Part):
    """The users or the items: the column of the id, and the declared fields in order."""

    id: str
    fields: Annotated[dict[str, Field], _empty_mapping] = {}

    @field_validator("fields")
    @classmethod
    def _names_are_free(cls, fields: dict[str, Field]) -> dict[str, Field]:
        for name in fields:
            if name in RESERVED or not name:
                raise ValueError(f'a field cannot be named "{name}"; choose another name and set column: "{name}"')
        return fields

    def column_of(self, name: str) -> str:
        """Return the column of a field in the files."""
        return self.fields[name].column or name


class Value(_Part):
    """The value of an action: a rating or an amount.

    Attributes:
        column: Its column in the files.
        positive: The condition under which an action is positive. Values that do not meet it teach nothing positive.
    """

    column: str
    positive: str = "> 0"

    @field_validator("column")
    @classmethod
    def _column_is_named(cls, column: str) -> str:
        if not column:
            raise ValueError("name the column of the values, such as rating or quantity")
        return column

    @field_validator("positive")
    @classmethod
    def _positive_is_a_condition(cls, positive: str) -> str:
        return str(ValueRule.parse(positive))


_column_alone = BeforeValidator(lambda value: {"column": value} if isinstance(value, str) else value)


class Action(_Part):
    """The columns of `actions.*`.

    Attributes:
        user: Column of the user id.
        item: Column of the item id.
        time: Column of the time. Without it, nothing is known about the order of a user's actions.
        unit: Unit of epoch times.
        format: How times are written, as in strptime. Without it and a unit, they are ISO 8601 text. All text is in UTC
            unless it has an offset.
        type: Column of the action type. Without it, every action has the only type in `weights`, or "action".
        value: Column of a rating or an amount, and which values are positive.
        weight_by: "value": an action counts the more, the larger its value is.
        weights: Weight of each action type. Any other type has weight 1, and the report says so.
    """

    user: str
    item: str
    time: str | None = None
    unit: Unit | None = None
    format: str | None = None
    type: str | None = None
    value: Annotated[Value | None, _column_alone] = None
    weight_by: Literal["value"] | None = None
    weights: Annotated[dict[str, float], _empty_mapping] = {}

    @field_validator("weights")
    @classmethod
    def _weights_are_usable(cls, weights: dict[str, float]) -> dict[str, float]:
        for name, weight in weights.items():
            if not math.isfinite(weight) or weight < 0:
                raise ValueError(f"the weight of {name} must be a number and at least 0, not {weight}")
        if weights and not any(weights.values()):
            raise ValueError("at least one weight must be above 0")
        return weights

    @model_validator(mode="after")
    def _format_is_usable(self) -> "Action":
        if self.unit and self.format is not None:
            raise ValueError("declare either unit, for numbers since 1970, or format, for written times")
        if self.format is not None and not any(f"%{letter}" in self.format for letter in _YEARS):
            raise ValueError(f'format "{self.format}" has no year; an example is "%d/%m/%Y %H:%M"')
        return self

    @model_validator(mode="after")
    def _one_type_without_column(self) -> "Action":
        if self.type is None and len(self.weights) > 1:
            raise ValueError("weights name several types, but there is no type: column")
        return self

    @model_validator(mode="after")
    def _unit_belongs_to_a_time(self) -> "Action":
        for key, given in (("unit", self.unit), ("format", self.format)):
            if self.time is None and given is not None:
                raise ValueError(f"{key} describes times, but there is no time: column")
        return self

    @model_validator(mode="after")
    def _weights_have_values(self) -> "Action":
        if self.weight_by and self.value is None:
            raise ValueError("weight_by: value needs a value: column")
        if self.weight_by and self.rule and not self.rule.only_above_zero:
            raise ValueError(
                f'weight_by: value needs values above 0, but value.positive: "{self.rule}" accepts others;'
                ' write positive: "> 0" or a larger bound'
            )
        return self

    @property
    def rule(self) -> ValueRule | None:
        """How values are understood; None if there is no column for them."""
        if self.value is None:
            return None
        return ValueRule.parse(self.value.positive).model_copy(update={"weighted": self.weight_by == "value"})

    @property
    def only_type(self) -> str:
        """The type of every action, if there is no column for it."""
        return next(iter(self.weights), "action")


class Schema(_Part):
    """The content of schema.yaml.

    Attributes:
        user: The users; without an id if they have no table, so that their ids come from the actions.
        item: The items, likewise.
        action: The actions.
        repeats: Whether an item may be recommended to a user who has already acted on it.
        missing: Cells that mean "unknown"; the empty cell always does.
        encoding: Of all text files.
        separator: Between the columns of .csv and .dat files; a comma if it is not declared.
        decimal: The decimal point of numbers in text.
        escape: The character in .csv and .tsv files that takes the meaning of a quote or separator after it.
    """

    user: Side = Side(id="")
    item: Side = Side(id="")
    action: Action
    repeats: bool = True
    missing: tuple[str, ...] = ("",)
    encoding: str = "utf-8"
    separator: str | None = None
    decimal: Literal[".", ","] = "."
    escape: str | None = None

    @field_validator("missing")
    @classmethod
    def _empty_is_missing(cls, missing: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(("", *missing)))

    @field_validator("separator")
    @classmethod
    def _separator_separates(cls, separator: str | None) -> str | None:
        if separator is not None and (not separator or any(character in separator for character in '"\r\n\\')):
            raise ValueError('must be one or more characters other than quotes, such as ";" or "\\t"')
        return separator

    @field_validator("escape")
    @classmethod
    def _escape_is_one_character(cls, escape: str | None) -> str | None:
        if escape == '"':  # quotes in quoted cells are doubled, as without this key
            return None
        if escape is not None and not (
            len(escape) == 1 and escape.isascii() and escape.isprintable() and escape != " "
        ):
            raise ValueError('must be one character; MySQL, PostgreSQL and Spark use "\\\\"')
        return escape

    @field_validator("encoding")
    @classmethod
    def _encoding_exists(cls, encoding: str) -> str:
        try:
            return codecs.lookup(encoding).name
        except LookupError:
            raise ValueError(f'unknown encoding "{encoding}"; for example utf-8, gb18030, latin-1') from None

    @classmethod
    def load(cls, folder: Path) -> "Schema":
        """Read the schema of a data set.

        A folder with users.dat or products.dat and without schema.yaml has the schema of the v0 contract.

        Raises:
            DataError: The schema is missing or invalid. The message names the file and the key.
        """
        path = folder / SCHEMA_FILE
        if path.is_file():
            return cls.parse(path.read_bytes(), str(path))
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder")
        if any((folder / name).exists() for name in ("users.dat", "products.dat")):
            return v0_schema()
        near = did_you_mean(SCHEMA_FILE, (file.name for file in folder.iterdir()))
        raise DataError(f"{path}: missing; every data set needs a schema{near}")

    @classmethod
    def parse(cls, text: bytes | str, name: str = SCHEMA_FILE) -> "Schema":
        """Parse a schema.

        Args:
            text: YAML.
            name: The file that error messages name.

        Raises:
            DataError: The schema is invalid. The message names the key.
        """
        try:
            # Scalars stay text ("no" is not False, 007 is not 7). pydantic converts where a number is expected.
            content = yaml.load(text, Loader=TextLoader)
            open_keys = sorted(_undecided(yaml.compose(text, Loader=TextLoader)))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise DataError(f"{name}: invalid YAML: {' '.join(str(error).split())}") from error
        if open_keys:
            (line, key), *others = open_keys
            text = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
            comment = text.splitlines()[line - 1].partition("#")[2].strip()
            more = f"; see also line {', '.join(str(other) for other, _ in others)}" if others else ""
            raise DataError(f'{name} line {line}: "{key}" is not decided{more}{": " if comment else ""}{comment}')
        if not isinstance(content, dict):
            raise DataError(f"{name}: must be a mapping with the key action, and usually user and item")
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise DataError(f"{name}: {'; '.join(_say(e) for e in error.errors())}") from error

    def weight(self, action_type: str) -> float:
        """Return the weight of an action type."""
        return self.action.weights.get(action_type, 1.0)

    def dump(self) -> str:
        """Return the schema as YAML."""
        without = {name for name in ("user", "item") if not getattr(self, name).id}
        content = self.model_dump(exclude_none=True, exclude=without)
        content["missing"] = list(self.missing)
        return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def v0_schema() -> Schema:
    """Return the schema of a folder with users.dat, products.dat and `actions.*`, as the v0 contract defines them."""
    return Schema(
        user=Side(id="user_id", fields={name: Field(kind="categorical") for name in USER_FIELDS}),
        item=Side(id="sku_id", fields={name: Field(kind="categorical") for name in ITEM_FIELDS}),
        action=Action(user="user_id", item="sku_id", time="action_time", type="type", weights=dict(V0_WEIGHTS)),
        missing=("", "-1"),
    )


def _undecided(node: yaml.Node | None) -> Iterator[tuple[int, str]]:
    """Yield the line and the name of each key whose value is UNDECIDED."""
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        if isinstance(value, yaml.ScalarNode) and value.value == UNDECIDED and value.style is None:
            yield value.start_mark.line + 1, key.value
        yield from _undecided(value)


_KEYS: dict[str, type[BaseModel]] = {"": Schema, "user": Side, "item": Side, "action": Action, "action.value": Value}


def _say(error: Any) -> str:
    """Return an error of pydantic as `key: what is wrong; hint`."""
    place = [str(part) for part in error["loc"]]
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
