"""Slot: columns of a model's input, and how they follow from a field's text. It knows texts and numbers only."""

import math
from bisect import bisect_right
from typing import Literal, cast

from pydantic import BaseModel, ConfigDict, FiniteFloat, model_validator
from pydantic import Field as Setting

from recmesh.features.hashes import HashName, hashed
from recmesh.features.vocabulary import parse_number

Side = Literal["constant", "user", "item", "history"]

_LARGEST_ID = 2**53
_LARGEST_FIGURE = 3e38  # about what float32 holds


class Frozen(BaseModel):
    """A part of a mapping."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Hash(Frozen):
    """The id of a text: `by`(prefix + text) modulo `size`."""

    by: HashName
    size: int = Setting(ge=1)
    prefix: str = ""


class Number(Frozen):
    """The figure that a text means: (it - subtract) / divide. As an id it has to lie in [0, size)."""

    subtract: FiniteFloat = 0.0
    divide: FiniteFloat = 1.0
    size: int = Setting(default=0, ge=0)

    @model_validator(mode="after")
    def _can_divide(self) -> "Number":
        if not self.divide:
            raise ValueError("divide: 0 is no divisor")
        return self


class Slot(Frozen):
    """One or more columns of an input: a constant, or a field by one rule (hash, vocabulary, bounds, number).

    `source`: `user.<field>`, `item.<field>`, or `history.<item field>` of the newest distinct items, the newest first.
    `split`: the field holds several values; the first `width` of them count, what is left over is padding.
    `missing`: the id or figure of no value and of padding; without it a hashed field without a value has the id of the
    empty text, and everything else 0. `unknown`: the id of a value that the rule does not know, 0 by default.
    `multi_hot`: the columns are 1 where an id of the field says so, and 0 elsewhere; without `unknown`, a value that
    the vocabulary lacks leaves no mark. `bounds`: the id is the number of bounds that are not above the figure.
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
                f"give one rule of hash, vocabulary, bounds, number; these are {', '.join(rules) or 'none'}"
            )
        if self.multi_hot and (side == "history" or not (self.hash or self.vocabulary)):
            raise ValueError("multi_hot: for a hash or a vocabulary of a field of user or item")
        if self.bounds is not None and list(self.bounds) != sorted(self.bounds):
            raise ValueError("bounds: they do not rise")
        if self.makes_ids or self.multi_hot:
            self._check_ids()
        return self

    def _check_ids(self) -> None:
        given = [self.missing or 0, *(self.vocabulary or {}).values()]
        if not all(one >= 0 and float(one).is_integer() for one in given):
            raise ValueError("vocabulary, missing: ids are whole numbers from 0 up")
        if self.largest > _LARGEST_ID:
            raise ValueError(f"{self.largest} is too large for an id")

    @property
    def side(self) -> Side:
        """Whose field it is."""
        return cast(Side, self.source.partition(".")[0] or "constant")

    @property
    def field(self) -> str:
        """The field's name."""
        return self.source.partition(".")[2]

    @property
    def makes_ids(self) -> bool:
        """Whether its columns are ids; else they are figures."""
        if self.constant is not None:
            return self.constant >= 0 and self.constant.is_integer()
        return not self.multi_hot and (self.number is None or self.number.size > 0)

    @property
    def largest(self) -> int:
        """The largest id that it can give."""
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
        """Its `width` columns for a value; None and the empty text: there is none."""
        if self.constant is not None:
            return [self.constant] * self.width
        if self.multi_hot:
            return self._marks(text)
        if not self.split:
            return [self.code(text), *[self.padding] * (self.width - 1)]
        codes = [self.code(part) for part in self.parts(text)][: self.width]
        return codes + [self.padding] * (self.width - len(codes))

    def parts(self, text: str | None) -> list[str]:
        """The distinct values that a text holds; None holds none."""
        if not text or not self.split:
            return [text] if text else []
        return list(dict.fromkeys(filter(None, map(str.strip, text.split(self.split)))))

    def code(self, text: str | None) -> float:
        """The id or figure of one value."""
        if not text:
            return self._absent
        if self.hash:
            return hashed(self.hash.by, self.hash.prefix + text) % self.hash.size
        if self.vocabulary is not None:
            return self.vocabulary.get(text, self._unknown)
        figure = parse_number(text)
        if math.isnan(figure):
            return self._unknown
        if self.bounds is not None:
            return bisect_right(self.bounds, figure)
        assert self.number is not None
        scaled = (figure - self.number.subtract) / self.number.divide
        if self.number.size:
            return int(scaled) if 0 <= scaled < self.number.size else self._unknown
        return scaled if abs(scaled) < _LARGEST_FIGURE else self._unknown

    @property
    def padding(self) -> float:
        """What stands where a field has fewer values than columns."""
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
