"""The declared fields of users and items: their values, and whether models can use them."""

from collections.abc import Iterator

import polars as pl

from recmesh.dataset import DataSet, Field
from recmesh.dataset.cells import to_number
from recmesh.profiling.distributions import of_numbers
from recmesh.profiling.model import Bin, FieldProfile

TOP = 10
MAX_LABEL = 60


def fields_of(data: DataSet) -> Iterator[FieldProfile]:
    """Describe each field."""
    for side, declared, frame in (("user", data.schema.user, data.users), ("item", data.schema.item, data.items)):
        for name, field in declared.fields.items():
            yield _field(side, name, field, frame[name])


def _field(side: str, name: str, field: Field, column: pl.Series) -> FieldProfile:
    values = _values(field, column.drop_nulls())
    counts = values.value_counts().sort(["count", values.name], descending=[True, False])
    missing = column.null_count() / max(len(column), 1)
    why = _useless(counts.height, missing)
    return FieldProfile(
        side=side,
        name=name,
        kind=field.kind,
        values=counts.height,
        missing=missing,
        top=tuple(Bin(label=_label(str(value)), count=count) for value, count in counts.head(TOP).iter_rows()),
        numbers=of_numbers(to_number(values)) if field.kind == "numeric" and len(values) else None,
        model_input=not why,
        why=why,
    )


def _values(field: Field, column: pl.Series) -> pl.Series:
    if field.kind != "multi":
        return column
    parts: pl.Series = column.str.split(field.separator or "").explode().str.strip_chars()
    filled: pl.Series = parts.filter(parts != "")
    return filled


def _useless(values: int, missing: float) -> str:
    if not values:
        return "it has no values"
    if values == 1 and not missing:
        return "all rows have the same value"
    return ""


def _label(value: str) -> str:
    return value if len(value) <= MAX_LABEL else value[: MAX_LABEL - 1] + "…"
