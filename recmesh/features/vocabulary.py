"""Raw field values to codes: 0 is missing, 1 is a value that the vocabulary does not hold, values follow from 2."""

import json
import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from pathlib import Path

from recmesh.errors import ReleaseError
from recmesh.features.spec import Field

MISSING, UNSEEN, FIRST = 0, 1, 2


class Vocabulary:
    """Encodes the values of one field. For a numeric field the codes are its quantile buckets.

    `size` is the number of codes; `unknown` counts the values outside the vocabulary that were met.
    """

    def __init__(self, field: Field, values: Sequence[str], missing: Sequence[str]) -> None:
        self.field = field
        self.values = tuple(values)
        self.unknown = 0
        self._codes = {value: code for code, value in enumerate(values, FIRST)}
        self._missing = frozenset(missing)

    @property
    def size(self) -> int:
        return FIRST + (len(self.field.bounds) + 1 if self.field.kind == "numeric" else len(self.values))

    def code(self, value: str | None) -> int:
        """The code of one value."""
        if value is None or value in self._missing:
            return MISSING
        if self.field.kind == "numeric":
            number = parse_number(value)
            if math.isnan(number):
                return self._unseen()
            return FIRST + bisect_right(self.field.bounds, number)
        code = self._codes.get(value)
        if code is None:
            code = self._codes.get(_other_spelling(value))
        return self._unseen() if code is None else code

    def spelled(self, value: str) -> str:
        """The value as the vocabulary spells it, where it knows it by its other spelling only."""
        other = _other_spelling(value)
        return other if value not in self._codes and other in self._codes else value

    def codes(self, value: str | None) -> list[int]:
        """The `width` codes of a value: those of a multi field's parts, filled up with 0."""
        width = self.field.width
        if self.field.kind != "multi" or value is None or value in self._missing:
            return [self.code(value)] + [MISSING] * (width - 1)
        parts = dict.fromkeys(part.strip() for part in value.split(self.field.separator) if part.strip())
        found = [self.code(part) for part in parts][:width]
        return found + [MISSING] * (width - len(found))

    def number(self, value: str | None) -> float:
        """A numeric field's standardised logarithm; 0 (the mean) where it is missing or no number."""
        number = parse_number(value) if value is not None and value not in self._missing else math.nan
        return 0.0 if math.isnan(number) else (signed_log(number) - self.field.center) / self.field.scale

    def _unseen(self) -> int:
        self.unknown += 1
        return UNSEEN


def parse_number(value: str) -> float:
    """The number that a text means, NaN when none (infinities are none)."""
    try:
        number = float(value)
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def signed_log(number: float) -> float:
    """log(1 + |x|) with the sign of x: tames prices without failing on zero or below."""
    return math.copysign(math.log1p(abs(number)), number)


def _other_spelling(value: str) -> str:
    """ "5.0" for "5" and "5" for "5.0": clients of the seed system write whole numbers both ways."""
    return value[:-2] if value.endswith(".0") else f"{value}.0"


def save_vocabularies(path: Path, user: Sequence[Vocabulary], item: Sequence[Vocabulary]) -> None:
    content = {side: {v.field.name: v.values for v in sides} for side, sides in (("user", user), ("item", item))}
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def load_vocabularies(path: Path, side: str, fields: Sequence[Field], missing: Sequence[str]) -> list[Vocabulary]:
    """Raises ReleaseError when the file is missing or lacks a field."""
    try:
        values: Mapping[str, Sequence[str]] = json.loads(path.read_text(encoding="utf-8"))[side]
        return [Vocabulary(field, values[field.name], missing) for field in fields]
    except (OSError, ValueError, KeyError) as error:
        raise ReleaseError(f"{path}: damaged vocabularies ({error!r}); train again") from error
