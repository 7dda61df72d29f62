"""Conditions on the fields of items, as filters and rules have them. This module has no protobuf messages.

A field has any number of values: none if it is missing, and several if its kind is `multi`.
"""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from recmesh.numbers import NUMBER, parse_number

__all__ = ["SKU_ID", "Condition", "field_values", "item_values"]

SKU_ID = "sku_id"
"""The field that holds the id of an item."""

_QUOTED = r'"(?:[^"]|"")*"'
_CONDITION = re.compile(rf'\s*({_QUOTED}|[^\s"=!<>][^"=!<>]*?)\s*(!=|>=|<=|=)\s*(.*?)\s*', re.DOTALL)
_VALUE = re.compile(rf'\s*({_QUOTED}|[^\s",=][^",]*?)\s*(,|\Z)')
_RANGE = re.compile(rf"(?P<minimum>{NUMBER})\.\.(?P<maximum>{NUMBER})")
_FORMS = "write cate=12,13 or cate!=5 or price>=3 or price<=9 or price=3..9"


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on one field of an item. All parts that are given must hold.

    An item without a value for the field meets only `none_of`.

    Attributes:
        field: An item field of the data set, or `sku_id`.
        any_of: The field has one of these values; empty for any.
        none_of: The field has none of these values.
        minimum: The field has a value that is a number from here up; None for no lower bound.
        maximum: The field has a value that is a number up to here; None for no upper bound.

    Raises:
        ValueError: No field is named or nothing is asked of it, a bound is NaN, no number is within the bounds, or
            `sku_id` has a bound. The message is one line.

    Example:
        >>> Condition("cate", any_of=("12", "13")).met_by({"cate": ["13"]})
        True
    """

    field: str
    any_of: tuple[str, ...] = ()
    none_of: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None

    def __post_init__(self) -> None:
        """Check the parts."""
        bounds = [bound for bound in (self.minimum, self.maximum) if bound is not None]
        if not self.field:
            raise ValueError("a condition names no field")
        if not (self.any_of or self.none_of or bounds):
            raise ValueError(f"the condition on {self.field} is empty: give any_of, none_of or a range")
        if any(map(math.isnan, bounds)) or bounds != sorted(bounds):
            raise ValueError(
                f"the condition on {self.field}: no number is in the range from {bounds[0]} to {bounds[-1]}"
            )
        if bounds and self.field == SKU_ID:
            raise ValueError(f"{SKU_ID} has no range: an id is a text")

    @classmethod
    def parse(cls, text: str) -> "Condition":
        """Read a condition as it is written on a command line or in a file.

        The forms are `cate=12,13` (any of these), `cate!=5,6` (none of these), `price>=3`, `price<=9` and `price=3..9`
        (bounds included). Spaces around names and values do not count. A name or value in double quotes may hold any
        character, such as `brand="Ben, Jerry"`; a quote within is doubled. A quoted `"3..9"` is a text.

        Raises:
            ValueError: The text is no condition. The message is one line and names the text.
        """
        found = _CONDITION.fullmatch(text)
        if not found:
            raise ValueError(f"{text!r} is not a condition: {_FORMS}")
        field, operator, rest = _unquoted(found[1]), found[2], found[3]
        try:
            if operator == ">=":
                return cls(field, minimum=_number(rest))
            if operator == "<=":
                return cls(field, maximum=_number(rest))
            if operator == "!=":
                return cls(field, none_of=_values(rest))
            if bounds := _RANGE.fullmatch(rest):
                return cls(field, minimum=_number(bounds["minimum"]), maximum=_number(bounds["maximum"]))
            return cls(field, any_of=_values(rest))
        except ValueError as error:
            raise ValueError(f"{text!r}: {error}") from None

    def met_by(self, item: Mapping[str, Sequence[str]]) -> bool:
        """Return whether an item meets the condition.

        Args:
            item: The values of each field; see `item_values`. Fields without values may be missing.
        """
        values = item.get(self.field, ())
        if self.any_of and not any(value in self.any_of for value in values):
            return False
        if any(value in self.none_of for value in values):
            return False
        return not self.has_range or any(map(self.in_range, map(parse_number, values)))

    @property
    def has_range(self) -> bool:
        """Whether the condition has a bound."""
        return self.minimum is not None or self.maximum is not None

    def in_range(self, number: float) -> bool:
        """Return whether a number is within the bounds; NaN is not."""
        lower, upper = self.minimum, self.maximum
        return (lower is None or number >= lower) and (upper is None or number <= upper) and not math.isnan(number)


def field_values(text: str, separator: str | None, missing: Collection[str]) -> tuple[str, ...]:
    """Return the values of a stored field.

    Args:
        text: As it is stored.
        separator: Between the values of a field of kind `multi`; None for other kinds.
        missing: Texts that mean "missing".
    """
    if text in missing:
        return ()
    if separator is None:
        return (text,)
    return tuple(dict.fromkeys(stripped for part in text.split(separator) if (stripped := part.strip())))


def item_values(
    sku_id: str, fields: Mapping[str, str], separators: Mapping[str, str], missing: Collection[str]
) -> dict[str, tuple[str, ...]]:
    """Return what `Condition.met_by` takes.

    Args:
        sku_id: The id of the item.
        fields: Its fields, as they are stored.
        separators: For each field of kind `multi` what is between its values.
        missing: Texts that mean "missing".
    """
    values = {name: field_values(text, separators.get(name), missing) for name, text in fields.items()}
    return {**values, SKU_ID: (sku_id,)}


def _values(text: str) -> tuple[str, ...]:
    values, start = list[str](), 0
    while found := _VALUE.match(text, start):
        values.append(_unquoted(found[1]))
        start = found.end()
        if not found[2]:
            return tuple(dict.fromkeys(values))
    raise ValueError(
        "expected values that are separated by commas; put quotes around one with a comma, a quote or a blank"
    )


def _number(text: str) -> float:
    number = parse_number(text)
    if math.isnan(number):
        raise ValueError(f"{text!r} is not a number")
    return number


def _unquoted(text: str) -> str:
    return text[1:-1].replace('""', '"') if text.startswith('"') else text
