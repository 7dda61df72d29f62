"""The fields of items in columns, so that a filter becomes a mask of all items within milliseconds.

Texts are kept as codes: int32 for each item, and the 64-bit hash and the number of each distinct text. A million items
take 4 MB for a field with few values, and 24 MB for one in which all values differ.
"""

import math
from array import array
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from recmesh.conditions import SKU_ID, Condition, field_values
from recmesh.errors import InvalidRequest
from recmesh.features.catalogue import Catalogue
from recmesh.features.spec import Field, Ints, Longs, Mask
from recmesh.numbers import parse_number

_MIN_SORTED = 4_096
_NAMED_FIELDS = 30


def separators(fields: Iterable[Field]) -> dict[str, str]:
    """Return for each field of kind `multi` what is between its values."""
    return {field.name: field.separator for field in fields if field.kind == "multi"}


class ItemTable:
    """The fields of the items of a catalogue, and of further items.

    Items whose fields were not put yet, or were taken back, pass no filter.
    """

    def __init__(self, catalogue: Catalogue, fields: Iterable[Field], missing: Collection[str]) -> None:
        """Make a table without values.

        Args:
            catalogue: The items with the first rows.
            fields: The fields that models read. Items may have others, which have one value each.
            missing: Texts that mean "missing".
        """
        fields = list(fields)
        self._separators = separators(fields)
        self._index = catalogue.index
        self._further: dict[str, int] = {}
        self._missing = frozenset(missing)
        self._known = np.zeros(len(catalogue), np.bool_)
        self._columns = {field.name: self._column(field.name) for field in fields}

    @property
    def crowded(self) -> bool:
        """Whether most texts are no longer values of an item, after many changes: a new table would be smaller."""
        rows = len(self._known)
        return any(len(column) > 2 * rows + _MIN_SORTED for column in self._columns.values())

    def row(self, sku_id: str) -> int | None:
        """Return the row of an item: the number that it has in the catalogue, or a higher one."""
        row = self._index.get(sku_id)
        return self._further.get(sku_id) if row is None else row

    def put(self, items: Mapping[str, Mapping[str, str] | None]) -> None:
        """Set the fields of items, by their ids; None for an item that is not offered."""
        rows = np.array([self._row_of(sku_id) for sku_id in items], np.int64)
        self._grow()
        fields = [given or {} for given in items.values()]
        self._known[rows] = [given is not None for given in items.values()]
        for name in dict.fromkeys(name for given in fields for name in given):
            if name not in self._columns:
                self._columns[name] = self._column(name)
        for name, column in self._columns.items():
            column.put(rows, [given.get(name, "") for given in fields])

    def mask(self, conditions: Sequence[Condition]) -> Mask:
        """Return for each row whether its item meets all conditions, bool.

        Raises:
            InvalidRequest: No item has a field of this name.
        """
        mask: Mask = self._known.copy()
        for condition in conditions:
            if condition.field == SKU_ID:
                mask &= self._met_by_id(condition)
            elif condition.field in self._columns:
                mask &= self._columns[condition.field].met(condition)
            else:
                raise InvalidRequest(f"filter: item field {condition.field!r} is unknown: use {self._names()}")
        return mask

    def _names(self) -> str:
        names = [SKU_ID, *sorted(self._columns)]
        more = f" and {len(names) - _NAMED_FIELDS} others" if len(names) > _NAMED_FIELDS else ""
        return f"one of {', '.join(names[:_NAMED_FIELDS])}{more}"

    def _met_by_id(self, condition: Condition) -> Mask:
        met = np.full(len(self._known), not condition.any_of)
        met[self._rows_of(condition.any_of)] = True
        met[self._rows_of(condition.none_of)] = False
        return met

    def _rows_of(self, sku_ids: Iterable[str]) -> list[int]:
        return [row for sku_id in sku_ids if (row := self.row(sku_id)) is not None]

    def _row_of(self, sku_id: str) -> int:
        row = self.row(sku_id)
        if row is None:
            row = self._further[sku_id] = len(self._index) + len(self._further)
        return row

    def _grow(self) -> None:
        missing = len(self._index) + len(self._further) - len(self._known)
        if missing > 0:
            # More than is needed, so that items that come one by one cost little.
            self._known = np.concatenate([self._known, np.zeros(missing + len(self._known) // 8, np.bool_)])
            for column in self._columns.values():
                column.grow(len(self._known))

    def _column(self, name: str) -> "_Column":
        return _Column(len(self._known), self._separators.get(name), self._missing)


class _Column:
    """The texts of a field, and the values in them: of a field of kind `multi` several, otherwise the text itself."""

    def __init__(self, rows: int, separator: str | None, missing: Collection[str]) -> None:
        self._separator = separator
        self._missing = missing
        self._of_rows: Ints = np.zeros(rows, np.int32)
        self._texts = _Codes()
        self._values = self._texts if separator is None else _Codes()
        self._numbers = array("d", [math.nan])  # by the code of the value
        # Which text has which value, for a field of kind `multi`.
        self._pair_texts, self._pair_values = array("i"), array("i")

    def __len__(self) -> int:
        return len(self._texts)

    def grow(self, rows: int) -> None:
        self._of_rows = np.concatenate([self._of_rows, np.zeros(rows - len(self._of_rows), np.int32)])

    def put(self, rows: Longs, texts: Sequence[str]) -> None:
        distinct = [text for text in dict.fromkeys(texts) if text not in self._missing]
        codes, new = self._texts.add(distinct)
        if self._separator is None:
            self._numbers.extend(map(parse_number, new))
        else:
            self._add_values(new)
        code_of = dict(zip(distinct, codes, strict=True))
        self._of_rows[rows] = [code_of.get(text, 0) for text in texts]

    def _add_values(self, new: Sequence[str]) -> None:
        """Add the values of the texts that were just added."""
        for code, text in enumerate(new, len(self._texts) - len(new) + 1):
            values, new_values = self._values.add(field_values(text, self._separator, self._missing))
            self._pair_texts.extend([code] * len(values))
            self._pair_values.extend(values)
            self._numbers.extend(map(parse_number, new_values))

    def met(self, condition: Condition) -> Mask:
        """Return for each row whether it meets a condition."""
        texts = np.ones(len(self._texts) + 1, np.bool_)  # 0 is no text
        if condition.any_of:
            texts &= self._with(self._among(condition.any_of))
        if condition.none_of:
            texts &= ~self._with(self._among(condition.none_of))
        if condition.has_range:
            numbers = np.frombuffer(self._numbers)
            lower = -math.inf if condition.minimum is None else condition.minimum
            upper = math.inf if condition.maximum is None else condition.maximum
            texts &= self._with((numbers >= lower) & (numbers <= upper))
        met: Mask = texts[self._of_rows]
        return met

    def _among(self, values: Iterable[str]) -> Mask:
        """Return for each code of a value whether it is one of `values`."""
        found = np.zeros(len(self._values) + 1, np.bool_)
        found[[self._values.find(value) for value in values]] = True
        found[0] = False
        return found

    def _with(self, values: Mask) -> Mask:
        """Return for each code of a text whether it has one of the values."""
        if self._separator is None:
            return values
        found = np.zeros(len(self._texts) + 1, np.bool_)
        found[np.frombuffer(self._pair_texts, np.int32)[values[np.frombuffer(self._pair_values, np.int32)]]] = True
        return found


class _Codes:
    """Codes of texts, from 1.

    Texts are known by their 64-bit hashes. The chance that a filter of a thousand values confuses one of them with one
    of a billion other texts is one in 10 million.
    """

    def __init__(self) -> None:
        self._hashes: Longs = np.empty(0, np.int64)  # ascending
        self._codes: Ints = np.empty(0, np.int32)
        self._latest: dict[int, int] = {}  # not in the arrays yet

    def __len__(self) -> int:
        return len(self._codes) + len(self._latest)

    def find(self, text: str) -> int:
        """Return the code of a text; 0 if it has none."""
        return self._find([hash(text)])[0]

    def add(self, texts: Collection[str]) -> tuple[list[int], list[str]]:
        """Return the codes of distinct texts, and those of the texts that are new, in the order of their codes."""
        hashes = list(map(hash, texts))
        codes, new = self._find(hashes), []
        for position, (text, digest) in enumerate(zip(texts, hashes, strict=True)):
            if not codes[position]:
                codes[position] = self._latest[digest] = len(self) + 1
                new.append(text)
        if len(self._latest) > max(_MIN_SORTED, len(self._codes) // 4):
            self._sort()
        return codes, new

    def _find(self, hashes: Sequence[int]) -> list[int]:
        wanted = np.array(hashes, np.int64)
        codes = np.zeros(len(wanted), np.int32)
        if len(self._hashes):
            places = np.searchsorted(self._hashes, wanted).clip(max=len(self._hashes) - 1)
            codes = np.where(self._hashes[places] == wanted, self._codes[places], 0)
        found: list[int] = codes.tolist()
        return [code or self._latest.get(digest, 0) for code, digest in zip(found, hashes, strict=True)]

    def _sort(self) -> None:
        hashes = np.concatenate([self._hashes, np.fromiter(self._latest.keys(), np.int64)])
        codes = np.concatenate([self._codes, np.fromiter(self._latest.values(), np.int32)])
        order = np.argsort(hashes)
        self._hashes, self._codes, self._latest = hashes[order], codes[order], {}
