"""How a column writes times."""

import re
from dataclasses import dataclass

import polars as pl

from recmesh.dataset.times import to_time
from recmesh.drafting.guess import Guess, scalar

MIN_SHARE = 0.95
"""Share of the cells that a form must fit."""

LOWEST, HIGHEST = 631_152_000, 2_208_988_800
"""1990 and 2040 in seconds since 1970: times outside are not taken for times of a shop."""

_UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_DATE = re.compile(
    r"(?P<first>\d{1,4})(?P<mark>[/.-])(?P<second>\d{1,2})(?P=mark)(?P<third>\d{2,4})"
    r"(?:(?P<gap>[ T])(?P<hours>\d{1,2}):\d{2}(?P<seconds>:\d{2})?(?P<half> ?[AaPp][Mm])?)?"
)
_NAMED = re.compile(r"(\d{1,2})([ -])([A-Za-z]{3,9})\2(\d{4})( \d{1,2}:\d{2}(:\d{2})?)?")


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
    found = _DATE.fullmatch(text[0])
    if found is None:
        return _with_month_names(text)
    mark, clock = found["mark"], _clock(found)
    parts = text.str.extract_groups(rf"^(\d+){re.escape(mark)}(\d+){re.escape(mark)}\d+").struct.unnest()
    first, second = (parts[name].cast(pl.Int64, strict=False) for name in parts.columns[:2])
    if first.null_count() > (1 - MIN_SHARE) * len(text):
        return _unknown(f'several forms, such as "{text[0]}" and "{text.filter(first.is_null())[0]}"')
    year = "%Y" if len(found["third"]) == 4 else "%y"
    if len(found["first"]) == 4:
        return _format(f"%Y{mark}%m{mark}%d{clock}", f'year, month and day, such as "{text[0]}"')
    day_first, month_first = f"%d{mark}%m{mark}{year}{clock}", f"%m{mark}%d{mark}{year}{clock}"
    if _most(first) > 12 >= _most(second):
        cell = text.filter(first.fill_null(0) > 12)[0]
        return _format(day_first, f'day first: "{cell}" has no month {cell.partition(mark)[0]}')
    if _most(second) > 12 >= _most(first):
        cell = text.filter(second.fill_null(0) > 12)[0]
        return _format(month_first, f'month first: "{cell}" has no month {cell.split(mark)[1]}')
    if _most(first) > 12:
        return _unknown(f'day first and month first, such as "{text.filter(first.fill_null(0) > 12)[0]}"')
    choices = f'"{text[0]}": {scalar(day_first)} (day first) or {scalar(month_first)} (month first)?'
    return Times({"format": Guess.open(choices)}, "day and month cannot be told apart")


def _clock(found: "re.Match[str]") -> str:
    if found["hours"] is None:
        return ""
    seconds, half = ":%S" if found["seconds"] else "", found["half"]
    if half is None:
        return f"{found['gap']}%H:%M{seconds}"
    return f"{found['gap']}%I:%M{seconds}{' ' if half[0] == ' ' else ''}%p"


def _with_month_names(text: pl.Series) -> Times:
    found = _NAMED.fullmatch(text[0])
    if found is None:
        return _unknown(f'"{text[0]}" is no known form')
    clock = (" %H:%M:%S" if found[6] else " %H:%M") if found[5] else ""
    name = "%b" if len(found[3]) == 3 else "%B"
    return _format(f"%d{found[2]}{name}{found[2]}%Y{clock}", f'the month by name, such as "{text[0]}"')


def _format(form: str, why: str) -> Times:
    return Times({"format": Guess(scalar(form), why)}, "dates")


def _most(numbers: pl.Series) -> int:
    return max(numbers.drop_nulls().to_list(), default=0)
