"""Which declared fields the models read. Fields that nearly name their row are kept for display only."""

from dataclasses import dataclass

import polars as pl

from recmesh.dataset.schema import Field, Side

FEW_VALUES = 100
"""A field with at most this many values is always read."""

MAX_SINGLE_SHARE = 0.5
"""Of more values, at most this share of the cells may hold a value that occurs only once."""

MAX_VALUES = 50_000
"""Values of a field that the models tell apart: the most frequent ones."""


@dataclass(frozen=True)
class Values:
    """The values of a categorical or multi field.

    Attributes:
        counts: `value` and `count`, the most frequent first, equally frequent ones in the order of the values.
    """

    counts: pl.DataFrame

    @classmethod
    def of(cls, declared: Field, column: pl.Series) -> "Values":
        """Count the values of a column. The parts of a multi cell are counted each."""
        cells = column.drop_nulls().alias("value")
        if declared.kind == "multi":
            parts = cells.str.split(declared.separator or "|").explode().str.strip_chars()
            cells = parts.filter(parts != "")
        return cls(cells.value_counts().sort("count", "value", descending=[True, False]))

    @property
    def single(self) -> int:
        """The number of values that occur once."""
        return int((self.counts["count"] == 1).sum())

    @property
    def too_distinct(self) -> bool:
        """Whether most cells hold a value of their own, so that the field teaches nothing about others."""
        return len(self.counts) > FEW_VALUES and self.single > MAX_SINGLE_SHARE * int(self.counts["count"].sum())

    def vocabulary(self) -> list[str]:
        """Return the values that models tell apart, sorted."""
        return sorted(self.counts["value"].head(MAX_VALUES).to_list())


def is_input(declared: Field, column: pl.Series) -> bool:
    """Return whether the models read a field."""
    if declared.kind in ("display", "numeric"):
        return declared.kind == "numeric"
    return not Values.of(declared, column).too_distinct


def notices(name: str, side: Side, frame: pl.DataFrame) -> list[str]:
    """Say which fields of a side the models do not read as declared."""
    said = []
    for field, declared in side.fields.items():
        if declared.kind in ("display", "numeric"):
            continue
        values = Values.of(declared, frame[field])
        known = len(values.counts)
        if values.too_distinct:
            said.append(
                f'{name} field "{field}": {values.single:,} of its {known:,} values occur only once, so it is kept for '
                "display and no model reads it; declare kind: display"
            )
        elif known > MAX_VALUES:
            said.append(f'{name} field "{field}": models read the {MAX_VALUES:,} most frequent of its {known:,} values')
    return said
