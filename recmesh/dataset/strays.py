"""Stray actions: a few that lie far from all others in time, after a wrong clock, a default date or a typing error.

They are told from a season, a pilot or a slow beginning by their number: a period of activity has several days and
several users, and its days are not almost empty.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from recmesh.dataset.rejects import Reason, Rules
from recmesh.dataset.times import DAY_MS

_YEAR_DAYS = 365.25

MIN_ACTIONS = 50
"""Fewer actions have no usual times."""

CORE = (0.25, 0.75)
"""The periods between these quantiles of the actions count as usual."""

MIN_GAP_DAYS, GAPS_PER_CORE = 7, 2
"""A gap has at least a week, and at least half of the time between the quantiles."""

KEPT_DAYS, KEPT_CORES = 365, 2
"""Old actions do no harm: they are kept if they lie at most a year, or twice that time, before all others."""

QUIET_SHARE, MAX_QUIET_ACTIONS, QUIET_DAYS = 0.1, 0.01, 3
"""At either end, at most this share of the actions, on days with a smaller part of the usual number of actions, is
named if more than three days lie between them and the others. They are kept, because no training window needs them."""

MIN_PERIOD_DAYS, MIN_PERIOD_USERS = 3, 5
MIN_USER_SHARE, MIN_DENSITY = 0.01, 0.02
"""A period of activity has at least these numbers of days and users, this share of the users, and this share of the
usual actions for each day from its first to its last one."""

_Days = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Usual:
    """The days between which almost all actions lie, in days since 1970.

    Attributes:
        first: The first day.
        last: The last day.
        kept_from: Actions on earlier days are not used.
        kept_until: Actions on later days are not used.
    """

    first: int
    last: int
    kept_from: int
    kept_until: int


def usual_days(frames: Sequence[pl.DataFrame]) -> Usual | None:
    """Find the usual days of the actions, with the columns `user_id` and `time` (ms); None if they are all days."""
    days, counts = _actions_per_day(frames)
    if counts.sum() < MIN_ACTIONS:
        return None
    low, high = (int(days[np.searchsorted(np.cumsum(counts), share * counts.sum())]) for share in CORE)
    begin, end = _periods(frames, days, counts, low, high)
    inside = (days >= begin) & (days <= end)
    first, last = _without_quiet_ends(days[inside], counts[inside])
    if days[0] >= first and days[-1] <= last:
        return None
    return Usual(first, last, begin - max(KEPT_DAYS, KEPT_CORES * (high - low)), end)


def _periods(frames: Sequence[pl.DataFrame], days: _Days, counts: _Days, low: int, high: int) -> tuple[int, int]:
    """Return the first and the last day of the periods of activity; `low` and `high` are the days of `CORE`."""
    gap = max(MIN_GAP_DAYS, (high - low) // GAPS_PER_CORE)
    ends = np.flatnonzero(np.append(np.diff(days) > gap, True))
    begins = np.append(0, ends[:-1] + 1)
    in_core = (days[begins] <= high) & (days[ends] >= low)
    sizes = np.add.reduceat(counts, begins)
    lengths = days[ends] - days[begins] + 1
    needed = MIN_DENSITY * sizes[in_core].sum() / lengths[in_core].sum()
    usual = in_core | ((ends - begins + 1 >= MIN_PERIOD_DAYS) & (sizes / lengths >= needed))
    for period in np.flatnonzero(usual & ~in_core).tolist():
        users = max(MIN_PERIOD_USERS, MIN_USER_SHARE * _users(frames, int(days[0]), int(days[-1])))
        usual[period] = _users(frames, int(days[begins[period]]), int(days[ends[period]])) >= users
    return int(days[begins[usual]][0]), int(days[ends[usual]][-1])


def _without_quiet_ends(days: _Days, counts: _Days) -> tuple[int, int]:
    """Return the first and the last day without a few actions at either end."""
    busy = days[counts >= QUIET_SHARE * usual_count(counts)]
    first, last = int(days[0]), int(days[-1])
    head, tail = days < busy[0], days > busy[-1]
    few = MAX_QUIET_ACTIONS * counts.sum()
    if head.any() and counts[head].sum() <= few and busy[0] - days[head][-1] > QUIET_DAYS:
        first = int(busy[0])
    if tail.any() and counts[tail].sum() <= few and days[tail][0] - busy[-1] > QUIET_DAYS:
        last = int(busy[-1])
    return first, last


def usual_count(counts: _Days) -> int:
    """Return the usual count: that of the unit that contains the median, if units are sorted by their counts.

    Args:
        counts: int64 [units], the number of actions, or of visits, in each unit of time.
    """
    ascending = np.sort(counts)
    return int(ascending[np.searchsorted(np.cumsum(ascending), counts.sum() / 2)])


def stray_rules(usual: Usual, frames: Sequence[pl.DataFrame], column: str) -> tuple[Rules, Rules]:
    """Return the rules for stray actions that are not used, and for those that are kept, over the column `time`."""
    day = pl.col("time") // DAY_MS
    early, late = day < usual.kept_from, day > usual.kept_until
    kept_early, kept_late = ~early & (day < usual.first), ~late & (day > usual.last)

    def rule(holds: pl.Expr) -> tuple[Reason, pl.Expr]:
        stray = pl.concat([frame.filter(holds).select(day) for frame in frames]).to_series()
        before = usual.first - int(stray.to_numpy().min(initial=usual.first))
        after = int(stray.to_numpy().max(initial=usual.last)) - usual.last
        if before > 0:
            said = f"{_distance(before)} before all others, which begin on {_date(usual.first)}"
        else:
            said = f"{_distance(after)} after all others, which end on {_date(usual.last)}"
        return Reason(f"time is up to {said}", column=column), holds

    return [rule(early), rule(late)], [rule(kept_early), rule(kept_late)]


def _distance(days: int) -> str:
    return f"{days / _YEAR_DAYS:.1f} years" if days >= _YEAR_DAYS else f"{days} days"


def _date(day: int) -> str:
    return str(np.datetime64(day, "D"))


def _actions_per_day(frames: Sequence[pl.DataFrame]) -> tuple[_Days, _Days]:
    counted = [frame.select(day=pl.col("time") // DAY_MS).to_series().value_counts() for frame in frames]
    if not counted:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    total = pl.concat(counted).group_by("day").agg(pl.col("count").sum()).sort("day")
    return total["day"].to_numpy(), total["count"].cast(pl.Int64).to_numpy()


def _users(frames: Sequence[pl.DataFrame], first: int, last: int) -> int:
    """Return the number of users with actions from one day to another."""
    inside = pl.col("time").is_between(first * DAY_MS, (last + 1) * DAY_MS - 1)
    return pl.concat([frame.filter(inside).select(pl.col("user_id").unique()) for frame in frames])[
        "user_id"
    ].n_unique()
