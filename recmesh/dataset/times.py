"""Convert columns of times to milliseconds, and suggest the setting that reads a time of another form."""

import re

import polars as pl

from recmesh.dataset.cells import select
from recmesh.dataset.schema import Unit

DAY_MS = 86_400_000

MIN_TIME_MS, MAX_TIME_MS = 0, 4_102_444_800_000
"""1970-01-01 and 2100-01-01. A time outside this range indicates a wrong unit or a broken clock."""

PLAUSIBLE_MS = 631_152_000_000
"""1990-01-01. Most actions before it indicate a wrong unit, if another unit puts them behind it."""

_MS: dict[Unit, float] = {"s": 1e3, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
"""Milliseconds in each unit, the largest unit first."""

_COMMON_FORMS = ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d")
_OTHER_FORMS = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M%#z")

_REWRITTEN = (
    (r"^\s+|\s+$", ""),
    (r"(?i)\s*(?:UTC|GMT|Z)$", "+00:00"),
    (r"^(\d{4})(\d{2})(\d{2})(?:[T ]|$)", "${1}-${2}-${3}T"),
    (r"T(\d{2})(\d{2})(\d{2})?", "T${1}:${2}:${3}"),
    (r":([-+.,]|$)", ":00${1}"),
    (r"(:\d{2}),(\d)", "${1}.${2}"),
    (r"\s+([-+])", "${1}"),
    (r"T$", "T00:00:00"),
    (r"^(\d{4}-\d{2}-\d{2})\+", "${1}T00:00:00+"),
)
"""What turns the other forms of ISO 8601, and times with the words UTC or GMT, into those above."""

_NUMERIC_DATES = [
    separator.join(order)
    for separator in ("/", ".", "-", " ")
    for order in (("%d", "%m", "%Y"), ("%m", "%d", "%Y"), ("%Y", "%m", "%d"), ("%d", "%m", "%y"), ("%m", "%d", "%y"))
]
_NAMED_DATES = ["%d %b %Y", "%d-%b-%Y", "%d/%b/%Y", "%d-%b-%y", "%b %d %Y", "%b %d, %Y", "%a, %d %b %Y", "%Y年%m月%d日"]
_WHOLE = ("%Y%m%d%H%M%S", "%Y%m%d%H%M", "%a %b %d %H:%M:%S %Y", "%a %b %d %H:%M:%S %Z %Y")
_CLOCK = re.compile(
    r"([T:, ]*)(\d{1,2}:\d\d)(:\d\d)?([.,]\d+)?( ?)(AM|PM)?( ?)([+-]\d\d:?\d\d|[A-Z]{3,4})?$", re.IGNORECASE
)
"""The end of a time: what separates it from the date, hours and minutes, seconds, their fraction, half of day, zone."""


def to_time(column: pl.Series, unit: Unit | None, form: str | None = None) -> pl.Series:
    """Convert a column of times.

    Args:
        column: Dates or datetimes (parquet), or text or numbers.
        unit: The unit of text and numbers, counted since 1970.
        form: How text is written, as in strptime. Without a unit and a form, text is ISO 8601. All text is in UTC
            unless it has an offset.

    Returns:
        Milliseconds since 1970-01-01 UTC (Int64), and null for a cell that is not a time in the accepted range.

    Raises:
        polars.exceptions.PolarsError: `form` is not a format.
    """
    if column.dtype.is_temporal():
        time = select(
            column, pl.col("x").cast(pl.Datetime("ms", getattr(column.dtype, "time_zone", None))).dt.epoch("ms")
        )
    elif unit:
        time = select(column, _from_epoch(column.dtype, unit))
    elif form:
        time = _in_form(column.cast(pl.String), form)
    else:
        time = _from_iso(column)
    return select(time, pl.when(pl.col("x").is_between(MIN_TIME_MS, MAX_TIME_MS)).then("x"))


def better_unit(time: int, unit: Unit) -> Unit | None:
    """Return the unit that makes a time plausible that is not so in the declared unit, if there is one."""
    if time >= PLAUSIBLE_MS:
        return None
    number = time / _MS[unit]
    return next((other for other, scale in _MS.items() if PLAUSIBLE_MS <= number * scale <= MAX_TIME_MS), None)


def in_unit(time: int, unit: Unit) -> str:
    """Return the number that stands for a time in a unit."""
    return str(int(time / _MS[unit]))


def fix(cell: str) -> str:
    """Return the setting that reads a time of another form, as the end of a message about it."""
    if not cell.strip():
        return ""
    if re.fullmatch(r"\d+(\.\d*)?", cell):
        units = [unit for unit, scale in _MS.items() if PLAUSIBLE_MS <= float(cell) * scale <= MAX_TIME_MS]
        if units:
            return f"declare action.unit: {units[0]} in schema.yaml"
    if _from_iso(pl.Series([cell])).is_between(MIN_TIME_MS, MAX_TIME_MS)[0]:
        return "it is ISO 8601: declare neither action.unit nor action.format in schema.yaml"
    formats = formats_of(cell)
    if not formats:
        return 'declare how times are written in schema.yaml, such as action.format: "%d/%m/%Y %H:%M"'
    first = formats[0]
    other = first.translate(str.maketrans("dm", "md"))
    also = f' or "{other}", whichever is right,' if other != first and other in formats else ""
    zone = "; the name of the time zone is not read, so times count as UTC" if "%Z" in first else ""
    return f'declare action.format: "{first}"{also} in schema.yaml{zone}'


def formats_of(cell: str) -> list[str]:
    """Return the formats that read a cell, the most usual first."""
    return [form for form in _formats(cell) if _in_form(pl.Series([cell]), form).is_between(0, MAX_TIME_MS)[0]]


def _formats(cell: str) -> list[str]:
    """Return the formats that a cell may have, without a look at its date."""
    clock = _CLOCK.search(cell)
    end = ""
    if clock:
        before, _, seconds, fraction, space, half, gap, zone = clock.groups(default="")
        end = before + ("%I:%M" if half else "%H:%M") + (":%S" if seconds else "")
        end += ("%.f" if fraction else "") + space + ("%p" if half else "") + gap
        end += ("%z" if zone[0] in "+-" else "%Z") if zone else ""
    return [*(date + end for date in (*_NUMERIC_DATES, *_NAMED_DATES)), *_WHOLE]


def _from_epoch(dtype: pl.DataType, unit: Unit) -> pl.Expr:
    scale = 1000 if unit == "s" else round(1 / _MS[unit])
    number = pl.col("x").cast(pl.Float64, strict=False)
    time = (number * scale if unit == "s" else number / scale).floor().cast(pl.Int64, strict=False)
    if dtype.is_float():
        return time
    # Integers beyond 2**53 (ns) stay exact. Compare before scaling, because a product beyond 64 bits wraps around.
    whole = pl.col("x").cast(pl.Int64, strict=False)
    inside = whole.is_between(0, MAX_TIME_MS // scale if unit == "s" else MAX_TIME_MS * scale)
    return pl.when(inside).then(whole * scale if unit == "s" else whole // scale).otherwise(time)


def _from_iso(column: pl.Series) -> pl.Series:
    # Most columns have one form, so the form of the first value saves a pass over the column.
    forms = sorted(_COMMON_FORMS, key=lambda form: _in_form(column.head(1), form).null_count())
    time = _in_form(column, forms[0])
    for form in (*forms[1:], *_OTHER_FORMS):
        time = _with(time, column, form)
    if time.null_count():
        text = pl.col("x")
        for pattern, by in _REWRITTEN:
            text = text.str.replace_all(pattern, by)
        rewritten = select(column, pl.when(time.is_null()).then(text))
        for form in (*_COMMON_FORMS, *_OTHER_FORMS):
            time = _with(time, rewritten, form)
    return time


def _with(time: pl.Series, column: pl.Series, form: str) -> pl.Series:
    """Fill the times that are null by reading the cells in this form."""
    rows = time.is_null().arg_true()
    return time.scatter(rows, _in_form(column.gather(rows), form)) if len(rows) else time


def _in_form(column: pl.Series, form: str) -> pl.Series:
    text = pl.col("x")
    if form in _OTHER_FORMS:
        text = text.str.replace(" ", "T", literal=True).str.replace("Z$", "+00:00")
    zone = "UTC" if form.endswith("#z") else None
    return select(column, text.str.to_datetime(form, time_unit="ms", time_zone=zone, strict=False).dt.epoch("ms"))
