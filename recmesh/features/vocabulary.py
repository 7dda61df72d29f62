"""Vocabularies turn field values into codes: 0 is a missing value, 1 an unseen value, known values start at 2."""

import json
import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from pathlib import Path

from recmesh.errors import ReleaseError
from recmesh.features.spec import Field
from recmesh.numbers import parse_number

MISSING, UNSEEN, FIRST = 0, 1, 2


class Vocabulary:
    """Encodes the values of a field. The codes of a numeric field are its quantile buckets.

    Attributes:
        field: The declared field.
        values: The known values, in the order of their codes.
        unknown: How many values outside the vocabulary, or texts that are no numbers, have been encoded so far.
    """

    def __init__(self, field: Field, values: Sequence[str], missing: Sequence[str]) -> None:
        """Make a vocabulary.

        Args:
            field: The declared field.
            values: The known values. A numeric field needs none.
            missing: Values that mean "missing".
        """
        self.field = field
        self.values = tuple(values)
        self.unknown = 0
        self._codes = {value: code for code, value in enumerate(values, FIRST)}
        self._missing = frozenset(missing)

    @property
    def size(self) -> int:
        """The number of codes."""
        return FIRST + (len(self.field.bounds) + 1 if self.field.kind == "numeric" else len(self.values))

    def code(self, value: str | None) -> int:
        """Return the code of a single value."""
        if value is None or value in self._missing:
            return MISSING
        if self.field.kind == "numeric":
            number = parse_number(value)
            if math.isnan(number):  # missing, as in a file; the count shows that a client sends such text
                self.unknown += 1
                return MISSING
            return FIRST + bisect_right(self.field.bounds, number)
        code = self._codes.get(value)
        if code is None:
            code = self._codes.get(_other_spelling(value))
        return self._unseen() if code is None else code

    def spelled(self, value: str) -> str:
        """Return the vocabulary's spelling of a value, such as "5" for "5.0"; unknown values are returned unchanged."""
        other = _other_spelling(value)
        return other if value not in self._codes and other in self._codes else value

    def codes(self, value: str | None) -> list[int]:
        """Return `field.width` codes: those of a multi field's parts, padded with 0."""
        width = self.field.width
        if self.field.kind != "multi" or value is None or value in self._missing:
            return [self.code(value)] + [MISSING] * (width - 1)
        parts = dict.fromkeys(part.strip() for part in value.split(self.field.separator) if part.strip())
        found = [self.code(part) for part in parts][:width]
        return found + [MISSING] * (width - len(found))

    def number(self, value: str | None) -> float:
        """Return a numeric field's standardised logarithm; 0, the mean, if the value is missing or not a number."""
        number = parse_number(value) if value is not None and value not in self._missing else math.nan
        return 0.0 if math.isnan(number) else (signed_log(number) - self.field.center) / self.field.scale

    def _unseen(self) -> int:
        self.unknown += 1
        return UNSEEN


def signed_log(number: float) -> float:
    """Return log(1 + |x|) with the sign of x. It compresses prices and accepts zero and negative numbers."""
    return math.copysign(math.log1p(abs(number)), number)


def _other_spelling(value: str) -> str:
    """Return "5.0" for "5" and "5" for "5.0": legacy clients write whole numbers in both ways."""
    return value[:-2] if value.endswith(".0") else f"{value}.0"


def save_vocabularies(path: Path, user: Sequence[Vocabulary], item: Sequence[Vocabulary]) -> None:
    """Write the values of all vocabularies as JSON."""
    content = {side: {v.field.name: v.values for v in sides} for side, sides in (("user", user), ("item", item))}
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def load_vocabularies(path: Path, side: str, fields: Sequence[Field], missing: Sequence[str]) -> list[Vocabulary]:
    """Read the vocabularies of the `user` or `item` fields.

    Raises:
        ReleaseError: If the file is missing or damaged, or lacks a field.
    """
    try:
        values: Mapping[str, Sequence[str]] = json.loads(path.read_text(encoding="utf-8"))[side]
        return [Vocabulary(field, values[field.name], missing) for field in fields]
    except (OSError, ValueError, KeyError) as error:
        raise ReleaseError(f"{path}: damaged vocabularies ({error!r}); train again") from error
