"""A slot describes columns of an imported model's input, and how they are computed from the text of a field."""

import math
from bisect import bisect_right
from typing import Literal, cast

from pydantic import BaseModel, ConfigDict, FiniteFloat, model_validator
from pydantic import Field as Setting

from recmesh.features.hashes import HashName, hashed
from recmesh.numbers import parse_number

Side = Literal["constant", "user", "item", "history"]

_LARGEST_ID = 2**53
_LARGEST_NUMBER = 3e38  # close to the largest float32


class Frozen(BaseModel):
    """Base of the parts of a mapping: immutable, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Hash(Frozen):
    """The id of a text is the hash of prefix + text, modulo `size`; `by` names the hash."""

    by: HashName
    size: int = Setting(ge=1)
    prefix: str = ""


class Number(Frozen):
    """The number in a text, as (number - subtract) / divide. With a `size` it is an id, which must lie in [0, size)."""

    subtract: FiniteFloat = 0.0
    divide: FiniteFloat = 1.0
    size: int = Setting(default=0, ge=0)

    @model_validator(mode="after")
    def _can_divide(self) -> "Number":
        if not self.divide:
            raise ValueError("divide: must not be 0")
        return self


class Slot(Frozen):
    """One or more columns of an input: a constant, or a field and a rule (hash, vocabulary, bounds or number).

    Attributes:
        source: `user.<field>`, `item.<field>`, or `history.<item field>` for the newest distinct items, newest first.
            It is called `from` in YAML.
        constant: The value of the columns, without a field and a rule.
        hash: Rule: the id is a hash of the value.
        vocabulary: Rule: the id of each known value.
        bounds: Rule: the id is how many of these bounds are at most the value.
        number: Rule: the value is a number.
        split: The separator of a field with several values. The first `width` values count; the rest is padding.
        multi_hot: Column k is 1 if the field has a value with id k, and 0 otherwise. Without `unknown`, values outside
            the vocabulary set no column.
        width: The number of columns.
        missing: The id or number of a missing value, of text that should be a number, and of padding. By default, a
            missing value of a hashed field has the id of the empty text, and everything else is 0.
        unknown: The id of a value that the rule does not know; 0 by default.
    """

    source: str = Setting(default="", alias="from")
    constant: FiniteFloat | None = None
    hash: Hash | None = None
    vocabulary: dict[str, int] | None = None
    bounds: tuple[FiniteFloat, ...] | None = None
    number: Number | None = None
    split: str = ""
    multi_hot: bool = False
    width: int = Setting(default=1, ge=1)
    missing: FiniteFloat | None = None
    unknown: int | None = Setting(default=None, ge=0)

    @model_validator(mode="after")
    def _is_one_thing(self) -> "Slot":
        rules = [name for name in ("hash", "vocabulary", "bounds", "number") if getattr(self, name) is not None]
        if self.constant is not None:
            if self.source or rules:
                raise ValueError("a constant has neither `from` nor a rule")
            return self
        if not self.source:
            raise ValueError("give `from` (user.FIELD, item.FIELD or history.FIELD) or `constant`")
        side, _, name = self.source.partition(".")
        if side not in ("user", "item", "history") or not name:
            raise ValueError(f"from: {self.source} is not user.FIELD, item.FIELD or history.FIELD")
        if len(rules) != 1:
            raise ValueError(
                f"give exactly one of hash, vocabulary, bounds and number; found {', '.join(rules) or 'none'}"
            )
        if self.multi_hot and (side == "history" or not (self.hash or self.vocabulary)):
            raise ValueError("multi_hot: needs a user or item field with a hash or a vocabulary")
        if self.bounds is not None and list(self.bounds) != sorted(self.bounds):
            raise ValueError("bounds: must be in ascending order")
        if self.makes_ids or self.multi_hot:
            self._check_ids()
        return self

    def _check_ids(self) -> None:
        given = [self.missing or 0, *(self.vocabulary or {}).values()]
        if not all(number >= 0 and float(number).is_integer() for number in given):
            raise ValueError("vocabulary, missing: ids must be non-negative integers")
        if self.largest > _LARGEST_ID:
            raise ValueError(f"{self.largest} is too large for an id")

    @property
    def side(self) -> Side:
        """The part of `source` before the dot; `constant` if there is no source."""
        return cast(Side, self.source.partition(".")[0] or "constant")

    @property
    def field(self) -> str:
        """The field's name."""
        return self.source.partition(".")[2]

    @property
    def makes_ids(self) -> bool:
        """Whether the columns are ids. If not, they are numbers."""
        if self.constant is not None:
            return self.constant >= 0 and self.constant.is_integer()
        return not self.multi_hot and (self.number is None or self.number.size > 0)

    @property
    def largest(self) -> int:
        """The largest id that the slot can give."""
        found = [int(self.constant or 0), int(self.missing or 0), self._unknown]
        if self.hash:
            found.append(self.hash.size - 1)
        if self.vocabulary:
            found.append(max(self.vocabulary.values()))
        if self.bounds is not None:
            found.append(len(self.bounds))
        if self.number:
            found.append(self.number.size - 1)
        return max(found)

    def columns(self, text: str | None) -> list[float]:
        """Return the `width` columns for a value. None and the empty text mean that the value is missing."""
        if self.constant is not None:
            return [self.constant] * self.width
        if self.multi_hot:
            return self._marks(text)
        if not self.split:
            return [self.code(text), *[self.padding] * (self.width - 1)]
        codes = [self.code(part) for part in self.parts(text)][: self.width]
        return codes + [self.padding] * (self.width - len(codes))

    def parts(self, text: str | None) -> list[str]:
        """Return the distinct values in a text; None has none."""
        if not text or not self.split:
            return [text] if text else []
        return list(dict.fromkeys(filter(None, map(str.strip, text.split(self.split)))))

    def code(self, text: str | None) -> float:
        """Return the id or number of a single value."""
        if not text:
            return self._absent
        if self.hash:
            return hashed(self.hash.by, self.hash.prefix + text) % self.hash.size
        if self.vocabulary is not None:
            return self.vocabulary.get(text, self._unknown)
        number = parse_number(text)
        if math.isnan(number):
            return self._absent
        if self.bounds is not None:
            return bisect_right(self.bounds, number)
        assert self.number is not None
        scaled = (number - self.number.subtract) / self.number.divide
        if self.number.size:
            return int(scaled) if 0 <= scaled < self.number.size else self._unknown
        return scaled if abs(scaled) < _LARGEST_NUMBER else self._unknown

    @property
    def padding(self) -> float:
        """The content of columns for which the field has no value."""
        return self.missing or 0

    @property
    def _unknown(self) -> int:
        return self.unknown or 0

    @property
    def _absent(self) -> float:
        if self.missing is None and self.hash:
            return hashed(self.hash.by, self.hash.prefix) % self.hash.size
        return self.padding

    def _marks(self, text: str | None) -> list[float]:
        marks = [0.0] * self.width
        for part in self.parts(text):
            if self.vocabulary is None or self.unknown is not None or part in self.vocabulary:
                marks[int(self.code(part))] = 1.0
        return marks
