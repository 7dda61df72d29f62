"""Convert cells to text and numbers, without guessing."""

import polars as pl

from recmesh.numbers import NUMBER

CONTROL = r"\p{Cc}"

_DECIMAL_COMMA = r"^[ \t]*[+-]?(?:[0-9]{1,3}(?:\.[0-9]{3})+|[0-9]+)?(?:,[0-9]*)?(?:[eE][+-]?[0-9]+)?[ \t]*$"

_MAX_EXACT_FLOAT = float(2**53)


def to_text(column: pl.Series, separator: str | None = None) -> pl.Series:
    """Return a column of any type as text: 101.0 as 101, and lists joined by `separator`."""
    return select(column, _text(column.dtype, separator))


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
    return select(column, bad.fill_null(False))


def with_point(column: pl.Series, decimal: str) -> pl.Series:
    """Return text with a decimal point where numbers have the declared one: 1.234,50 becomes 1234.50."""
    if decimal == "." or column.dtype != pl.String:
        return column
    text = pl.col("x")
    plain = text.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)
    return select(column, pl.when(text.str.contains(_DECIMAL_COMMA)).then(plain).otherwise(text))


def has_decimal_commas(column: pl.Series) -> pl.Series:
    """Return a mask of the text that is a number with a decimal comma."""
    return select(column, pl.col("x").str.contains(_DECIMAL_COMMA) & pl.col("x").str.contains(",", literal=True))


def to_number(column: pl.Series) -> pl.Series:
    """Return the finite numbers in a column (Float64), and null elsewhere. Text is read as in requests."""
    text = pl.col("x")
    if column.dtype == pl.String:
        text = pl.when(text.str.contains(f"^(?:{NUMBER})$")).then(text.str.strip_chars(" \t"))
    number = text.cast(pl.Float64, strict=False)
    return select(column, pl.when(number.is_finite()).then(number))


def select(column: pl.Series, expression: pl.Expr) -> pl.Series:
    """Evaluate an expression over one column, which the expression calls x."""
    return column.to_frame("x").select(expression).to_series().alias(column.name)
