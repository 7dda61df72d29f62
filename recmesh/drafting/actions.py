"""The columns of actions: types with their weights, and values."""

import polars as pl

from recmesh.drafting.tables import Table
from recmesh.drafting.words import AMOUNT, RATING, TYPE, WEIGHTS, says, words

MAX_TYPES = 20
MIN_NUMBERS = 0.95
"""Share of the cells of a value column that are numbers."""


def type_column(actions: Table, taken: frozenset[str]) -> str | None:
    """Return the column that holds action types, if there is one."""
    for column in actions.frame.columns:
        if column in taken or actions.frame[column].dtype not in (pl.String, pl.Categorical):
            continue
        cells = actions.cells(column)
        distinct = set(cells.unique())
        numeric = cells.cast(pl.Float64, strict=False).null_count() == 0
        known = any(weight_of(name) is not None for name in distinct)
        named = says(column, TYPE)
        if 0 < len(distinct) <= MAX_TYPES and (known or (named and not numeric)):
            return column
    return None


def weight_of(name: str) -> float | None:
    """Return the usual weight of an action type, or None if its name says nothing."""
    plain = "_".join(words(name))
    return next((weight for weight, names in WEIGHTS.items() if names.fullmatch(plain)), None)


def value_column(actions: Table, taken: frozenset[str]) -> tuple[str, bool] | None:
    """Return the column that holds ratings or amounts, if there is one, and whether they are ratings."""
    for is_rating, meant in ((True, RATING), (False, AMOUNT)):
        for column in actions.frame.columns:
            if column in taken or not says(column, meant):
                continue
            if len(actions.numbers(column)) > MIN_NUMBERS * len(actions.cells(column)):
                return column, is_rating
    return None
