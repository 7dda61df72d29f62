"""Distributions of numbers and of counts."""

import math
from itertools import pairwise
from typing import cast

import polars as pl

from recmesh.profiling.model import Bin, Distribution

QUANTILES = (0.0, 0.1, 0.5, 0.9, 0.99, 1.0)
MAX_BINS = 24
TAIL = 0.005
"""Share of the numbers at either end that a histogram puts into its first and last column."""


def of_counts(counts: pl.Series) -> Distribution:
    """Describe counts, with columns for 0, 1, 2, 3 to 4, 5 to 8 and so on."""
    # 0 → 0, 1 → 1, 2 → 2, 3 and 4 → 3, ...
    number = pl.when(pl.col("n") == 0).then(0).otherwise((pl.col("n").cast(pl.Float64).log(2) - 1e-9).ceil() + 1)
    found = dict(
        counts.cast(pl.Int64).to_frame("n").group_by(number.cast(pl.Int32).alias("bin")).agg(pl.len()).iter_rows()
    )
    columns = range(min(found, default=1), max(found, default=0) + 1)
    return _distribution(counts, tuple(_power(k, found.get(k, 0)) for k in columns))


def of_numbers(numbers: pl.Series) -> Distribution:
    """Describe numbers: a column for each of at most 24 distinct values, else 24 columns of equal width.

    If all are positive and they span several powers of ten, the columns have equal widths of the logarithm.
    """
    numbers = numbers.drop_nulls().cast(pl.Float64)
    distinct = numbers.value_counts(sort=False).sort(numbers.name)
    if distinct.height <= MAX_BINS:
        return _distribution(numbers, tuple(Bin(label=short(value), count=n) for value, n in distinct.iter_rows()))
    low, high = (float(numbers.quantile(share) or 0.0) for share in (TAIL, 1 - TAIL))
    logarithmic = low > 0 and high > 100 * low
    if not high > low:
        low, high = cast(float, numbers.min()), cast(float, numbers.max())
    scaled = numbers.log(10) if logarithmic else numbers
    begin, end = (math.log10(low), math.log10(high)) if logarithmic else (low, high)
    width = (end - begin) / MAX_BINS
    column = ((scaled - begin) / width).floor().clip(0, MAX_BINS - 1).cast(pl.Int32)
    found = dict(column.value_counts().iter_rows())
    edges = [begin + k * width for k in range(MAX_BINS + 1)]
    names = [short(10**edge if logarithmic else edge) for edge in edges]
    bins = (
        Bin(label=f"{start} to {end}", count=found.get(k, 0), start=start)
        for k, (start, end) in enumerate(pairwise(names))
    )
    return _distribution(numbers, tuple(bins))


def short(number: float) -> str:
    """Format a number with at most four significant digits, and whole numbers completely."""
    if number == int(number):
        return f"{int(number):,}" if abs(number) < 1e15 else f"{number:.4g}"
    return f"{number:.4g}" if abs(number) < 1_000 else f"{number:,.0f}"


def _power(number: int, count: int) -> Bin:
    if number < 3:
        return Bin(label=str(number), count=count)
    start = f"{2 ** (number - 2) + 1:,}"
    return Bin(label=f"{start} to {2 ** (number - 1):,}", count=count, start=start)


def _distribution(numbers: pl.Series, bins: tuple[Bin, ...]) -> Distribution:
    quantiles = {f"{share:g}": float(numbers.quantile(share, "nearest") or 0.0) for share in QUANTILES}
    return Distribution(count=len(numbers), mean=cast(float, numbers.mean() or 0.0), quantiles=quantiles, bins=bins)
