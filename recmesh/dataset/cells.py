"""Convert cells to ids, text, times and numbers, without guessing."""

import polars as pl

from recmesh.dataset.schema import Unit
from recmesh.numbers import NUMBER

MAX_ID_BYTES = 128
CONTROL = r"\p{Cc}"

MIN_TIME_MS, MAX_TIME_MS = 0, 4_102_444_800_000
"""1970-01-01 and 2100-01-01. A time outside this range indicates a wrong unit or a broken clock."""

_SCALES: dict[Unit, int] = {"s": 1_000, "ms": 1, "us": 1_000, "ns": 1_000_000}
_MAX_EXACT_FLOAT = float(2**53)

_COMMON_TIMES = ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d")
_OTHER_TIMES = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M%#z")


def to_text(column: pl.Series, separator: str | None = None) -> pl.Series:
    """Return a column of any type as text: 101.0 as 101, and lists joined by `separator`."""
    return _select(column, _text(column.dtype, separator))


def _text(dtype: pl.DataType, separator: str | None) -> pl.Expr:
    column = pl.col("x")
    if dtype == pl.String:
        return column
    if isinstance(dtype, pl.List):
        return column.cast(pl.List(pl.String)).list.join(separator or ",")
    if dtype.is_float():
        whole = (column.floor() == column) & (column.abs() < _MAX_EXACT_FLOAT)
        text = (
            pl.when(whole).then(column.cast(pl.Int64, strict=False).cast(pl.String)).otherwise(column.cast(pl.String))
        )
        return pl.when(column.is_not_nan()).then(text)
    return column.cast(pl.String, strict=dtype != pl.Binary)


def inexact(column: pl.Series) -> pl.Series:
    """Return a mask of the values that cannot be ids: fractions, infinities, and floats too large to be exact."""
    if not column.dtype.is_float():
        return pl.repeat(False, len(column), eager=True)
    value = pl.col("x").fill_nan(None)
    bad = (value.floor() != value) | (value.abs() >= _MAX_EXACT_FLOAT)
    return _select(column, bad.fill_null(False))


def to_time(column: pl.Series, unit: Unit | None) -> pl.Series:
    """Convert a column of times.

    Args:
        column: Dates or datetimes (parquet), or text or numbers.
        unit: The unit of text and numbers, counted since 1970. If None, text is ISO 8601, in UTC unless it has an
            offset.

    Returns:
        Milliseconds since 1970-01-01 UTC (Int64), and null for a cell that is not a time in the accepted range.
    """
    if column.dtype.is_temporal():
        time = _select(
            column, pl.col("x").cast(pl.Datetime("ms", getattr(column.dtype, "time_zone", None))).dt.epoch("ms")
        )
    elif unit:
        time = _select(column, _from_epoch(column.dtype, unit))
    elif column.dtype == pl.String:
        time = _from_iso(column)
    else:
        time = pl.Series(column.name, [None] * len(column), dtype=pl.Int64)
    return _select(time, pl.when(pl.col("x").is_between(MIN_TIME_MS, MAX_TIME_MS)).then("x"))


def to_number(column: pl.Series) -> pl.Series:
    """Return the finite numbers in a column (Float64), and null elsewhere. Text is read as in requests."""
    text = pl.col("x")
    if column.dtype == pl.String:
        text = pl.when(text.str.contains(f"^(?:{NUMBER})$")).then(text.str.strip_chars(" \t"))
    number = text.cast(pl.Float64, strict=False)
    return _select(column, pl.when(number.is_finite()).then(number))


def _select(column: pl.Series, expression: pl.Expr) -> pl.Series:
    """Evaluate an expression over one column, which the expression calls x."""
    return column.to_frame("x").select(expression).to_series().alias(column.name)


def _from_epoch(dtype: pl.DataType, unit: Unit) -> pl.Expr:
    scale = _SCALES[unit]
    number = pl.col("x").cast(pl.Float64, strict=False)
    time = (number * scale if unit == "s" else number / scale).floor().cast(pl.Int64, strict=False)
    if dtype.is_float():
        return time
    # Integers beyond 2**53 (ns) stay exact. Compare before scaling, because a product beyond 64 bits wraps around.
    whole = pl.col("x").cast(pl.Int64, strict=False)
    inside = whole.is_between(MIN_TIME_MS, MAX_TIME_MS // scale if unit == "s" else MAX_TIME_MS * scale)
    return pl.when(inside).then(whole * scale if unit == "s" else whole // scale).otherwise(time)


def _from_iso(column: pl.Series) -> pl.Series:
    # Most columns have one form, so the form of the first value saves a pass over the column.
    forms = sorted(_COMMON_TIMES, key=lambda form: _in_form(column.head(1), form).null_count())
    time = _in_form(column, forms[0])
    for form in (*forms[1:], *_OTHER_TIMES):
        rows = time.is_null().arg_true()
        if not len(rows):
            break
        time = time.scatter(rows, _in_form(column.gather(rows), form))
    return time


def _in_form(column: pl.Series, form: str) -> pl.Series:
    text = pl.col("x")
    if form in _OTHER_TIMES:
        text = text.str.replace(" ", "T", literal=True).str.replace("Z$", "+00:00")
    zone = "UTC" if form.endswith("z") else None
    return _select(column, text.str.to_datetime(form, time_unit="ms", time_zone=zone, strict=False).dt.epoch("ms"))
