"""How a column writes times."""

from dataclasses import dataclass

import polars as pl

from recmesh.dataset.times import formats_of, to_time
from recmesh.drafting.guess import Guess, scalar

MIN_SHARE = 0.95
"""Share of the cells that a form must fit."""

MAX_CELLS = 20
"""The first cells, whose forms are tried."""

LOWEST, HIGHEST = 631_152_000, 2_208_988_800
"""1990 and 2040 in seconds since 1970: times outside are not taken for times of a shop."""

_UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


@dataclass(frozen=True)
class Times:
    """How a column writes times.

    Attributes:
        keys: The keys of the schema that say so: `unit`, `format`, or neither.
        why: The reason.
        sure: Whether the cells are times, whatever the name of the column.
    """

    keys: dict[str, Guess]
    why: str
    sure: bool = True


def times_of(column: pl.Series) -> Times:
    """Tell how a column writes times.

    Args:
        column: Its known cells.
    """
    if column.dtype in (pl.Date, pl.Datetime):
        return Times({}, f"a {column.dtype.__class__.__name__.lower()} column")
    text = column.cast(pl.String).drop_nulls()
    if text.is_empty():
        return _unknown("no cell has a value")
    numbers = text.cast(pl.Float64, strict=False)
    if numbers.null_count() <= (1 - MIN_SHARE) * len(text) and not _is_compact(text):
        return _epoch(text, numbers.drop_nulls())
    if to_time(text, None).null_count() <= (1 - MIN_SHARE) * len(text):
        return Times({}, f'ISO 8601, such as "{text[0]}"')
    return _formatted(text)


def _is_compact(text: pl.Series) -> bool:
    """Tell whether numbers are dates without marks, such as 20240229."""
    fitting = text.str.contains(r"^(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])$")
    return bool(fitting.mean() == 1.0)


def _epoch(text: pl.Series, numbers: pl.Series) -> Times:
    low, high = float(numbers.quantile(0.01) or 0.0), float(numbers.quantile(0.99) or 0.0)
    fitting = [unit for unit, scale in _UNITS.items() if low >= LOWEST * scale and high <= HIGHEST * scale]
    if len(fitting) == 1:
        year = pl.from_epoch(pl.Series([int(low) // _UNITS[fitting[0]]]), "s").dt.year()[0]
        return Times({"unit": Guess(fitting[0], f"{text[0]} is in {year}, counted in {fitting[0]}")}, "epoch times")
    choices = f"the times are numbers from {text.sort()[0]}: s, ms, us or ns since 1970?"
    return Times({"unit": Guess.open(choices)}, "numbers of an unknown unit", sure=False)


def _unknown(why: str) -> Times:
    return Times({"format": Guess.open(f'{why}; write how, such as "%d/%m/%Y %H:%M"')}, "an unknown form", sure=False)


def _formatted(text: pl.Series) -> Times:
    """Tell the format: of those that read the first cells, the ones that read the most cells."""
    candidates = dict.fromkeys(form for cell in text.head(MAX_CELLS) for form in formats_of(cell))
    read = {form: len(text) - to_time(text, None, form).null_count() for form in candidates}
    most = max(read.values(), default=0)
    if most < MIN_SHARE * len(text):
        return _unknown(f'"{text[0]}" is no known form' if not most else f'several forms, such as "{text[0]}"')
    fitting = [form for form, count in read.items() if count == most]
    if len(fitting) > 1:
        choices = " or ".join(f"{scalar(form)}{_order(form)}" for form in fitting)
        return Times({"format": Guess.open(f'"{text[0]}": {choices}?')}, "dates in a form that is not certain")
    others = [form for form in formats_of(text[0]) if form != fitting[0]]
    telling = text.filter(to_time(text, None, others[0]).is_null()) if others else text
    cell = telling[0] if len(telling) else text[0]
    return Times({"format": Guess(scalar(fitting[0]), f'such as "{cell}"')}, "dates")


def _order(form: str) -> str:
    day, month = form.find("%d"), form.find("%m")
    return "" if month < 0 else " (day first)" if day < month else " (month first)"
