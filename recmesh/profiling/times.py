"""When the actions happened: span, gaps, stray rows and resolution."""

from datetime import datetime, timezone
from typing import cast

import polars as pl

from recmesh.dataset.strays import usual_days
from recmesh.dataset.times import DAY_MS
from recmesh.profiling.model import Bin, Gap, Newcomers, Times

HOUR_MS, WEEK_MS = 3_600_000, 7 * DAY_MS

_RESOLUTIONS = (("day", DAY_MS), ("hour", HOUR_MS), ("minute", 60_000), ("second", 1_000), ("millisecond", 1))
_UNITS = (("hour", 3, "1h", "%Y-%m-%d %H:00"), ("day", 130, "1d", "%Y-%m-%d"), ("week", 900, "1w", "%Y-%m-%d"))
"""Units of the series, the most days for which each is used, and how Polars writes it."""

_MONTH = ("month", 0, "1mo", "%Y-%m")
MAX_GAPS = 5
MIN_GAP_DAYS = 3
GAP_FACTOR = 5
"""A gap is at least this many times as long as the usual time between active days."""


def usual_span(actions: pl.DataFrame) -> tuple[int, int]:
    """Return the first and the last time (ms) of a DataSet's actions on usual days, as reading defines them.

    Args:
        actions: Sorted by time, not empty.
    """
    times, usual = actions["time"], usual_days([actions])
    if usual is not None:
        times = times.filter((times // DAY_MS).is_between(usual.first, usual.last))
    return int(times[0]), int(times[-1])


def times_of(actions: pl.DataFrame, span: tuple[int, int], now: int) -> Times:
    """Describe the times of a DataSet's actions, of which there must be some.

    Args:
        actions: Sorted by time.
        span: See `usual_span`.
        now: The present, ms since 1970.
    """
    times, (first, last) = actions["time"], span
    usual = times.filter(times.is_between(first, last))
    days = (usual // DAY_MS).unique().sort()
    unit, series = _series(usual)
    return Times(
        first=formatted(int(times[0])),
        last=formatted(int(times[-1])),
        usual_first=formatted(first),
        usual_last=formatted(last),
        days=int(days[-1] - days[0]) + 1,
        active_days=len(days),
        resolution=next(name for name, length in _RESOLUTIONS if (times % length == 0).all()),
        unordered=_unordered(actions),
        outlying=len(times) - len(usual),
        future=int((times > now).sum()),
        unit=unit,
        series=series,
        gaps=_gaps(days),
    )


def newcomers(actions: pl.DataFrame, span: tuple[int, int]) -> Newcomers | None:
    """Count first appearances per week in the second half of the usual span; None if it is shorter than two weeks."""
    first, last = span
    if last - first < 2 * WEEK_MS:
        return None
    middle = (first + last) // 2
    weeks = (last - middle) / WEEK_MS

    def per_week(column: str) -> float:
        starts = actions.group_by(pl.col(column).to_physical()).agg(pl.col("time").min())["time"]
        return int(starts.is_between(middle, last, closed="right").sum()) / weeks

    return Newcomers(users_per_week=round(per_week("user_id"), 1), items_per_week=round(per_week("sku_id"), 1))


def formatted(time: int) -> str:
    """Format a time (ms since 1970) as a UTC date, with hours and minutes unless it is midnight."""
    moment = datetime.fromtimestamp(time / 1000, timezone.utc)
    return f"{moment:%Y-%m-%d}" if time % DAY_MS == 0 else f"{moment:%Y-%m-%d %H:%M}"


def _unordered(actions: pl.DataFrame) -> float:
    """Return the share of the actions at the same time as another action of the same user."""
    alone = actions.group_by(pl.col("user_id").to_physical(), "time").agg(pl.len()).filter(pl.col("len") == 1).height
    return 1 - alone / actions.height


def _series(usual: pl.Series) -> tuple[str, tuple[Bin, ...]]:
    span = (int(usual[-1]) - int(usual[0])) / DAY_MS
    unit, _, every, form = next((unit for unit in _UNITS if span <= unit[1]), _MONTH)
    starts = pl.from_epoch(usual, time_unit="ms").dt.truncate(every).alias("start")
    counts = (
        starts.value_counts().sort("start").upsample("start", every=every).with_columns(pl.col("count").fill_null(0))
    )
    labels = counts["start"].dt.strftime(form)
    return unit, tuple(Bin(label=label, count=count) for label, count in zip(labels, counts["count"], strict=True))


def _gaps(days: pl.Series) -> tuple[Gap, ...]:
    """Return the longest gaps between days (numbers since 1970, sorted)."""
    steps = pl.DataFrame({"after": days, "before": days.shift(-1)}).drop_nulls()
    steps = steps.with_columns(between=pl.col("before") - pl.col("after") - 1)
    usual = cast(float, steps["between"].median() or 0.0) + 1
    long = steps.filter(pl.col("between") >= max(MIN_GAP_DAYS, GAP_FACTOR * usual))
    longest = long.sort("between", "after", descending=[True, False]).head(MAX_GAPS).sort("after")
    return tuple(
        Gap(after=formatted(after * DAY_MS), before=formatted(before * DAY_MS), days=between)
        for after, before, between in longest.iter_rows()
    )
