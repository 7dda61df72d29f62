"""The declared fields of users and items: their values, and whether models can use them."""

from collections.abc import Iterator

import polars as pl

from recmesh.dataset import DataSet, Field
from recmesh.dataset.cells import to_number
from recmesh.dataset.inputs import Values
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
    values = Values.of(field, column)
    counts = values.counts
    missing = column.null_count() / max(len(column), 1)
    why = _why_no_input(field, values, missing)
    return FieldProfile(
        side=side,
        name=name,
        kind=field.kind,
        values=counts.height,
        missing=missing,
        top=tuple(Bin(label=_label(value), count=count) for value, count in counts.head(TOP).iter_rows()),
        numbers=of_numbers(to_number(column)) if field.kind == "numeric" and counts.height else None,
        model_input=not why,
        why=why,
    )


def _why_no_input(field: Field, values: Values, missing: float) -> str:
    if field.kind == "display":
        return "for display"
    if values.counts.is_empty():
        return "it has no values"
    if values.counts.height == 1 and not missing:
        return "all rows have the same value"
    if field.kind != "numeric" and values.too_distinct:
        return "most values occur only once"
    return ""


def _label(value: str) -> str:
    return value if len(value) <= MAX_LABEL else value[: MAX_LABEL - 1] + "…"
