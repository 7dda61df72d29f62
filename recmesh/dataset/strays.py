"""Stray actions: a few that lie far from all others in time, after a wrong clock, a default date or a typing error.

They are told from a season, a pilot or a slow beginning by their number: a period of activity has several days and
several users, and its days are not almost empty.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

_DAY_MS = 86_400_000
_YEAR_DAYS = 365.25

MIN_ACTIONS = 50
"""Fewer actions have no usual times."""

CORE = (0.25, 0.75)
"""The periods between these quantiles of the actions count as usual."""

MIN_GAP_DAYS, GAPS_PER_CORE = 7, 2
"""A gap has at least a week, and at least half of the time between the quantiles."""

KEPT_DAYS, KEPT_CORES = 365, 2
"""Old actions do no harm: they are kept if they lie at most a year, or twice that time, before all others."""

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
    """

    first: int
    last: int
    kept_from: int

    def first_ms(self) -> int:
        """Return when the first day begins, in ms since 1970."""
        return self.first * _DAY_MS

    def end_ms(self) -> int:
        """Return when the last day ends, in ms since 1970."""
        return (self.last + 1) * _DAY_MS

    def kept_from_ms(self) -> int:
        """Return when the first day begins whose actions are used."""
        return self.kept_from * _DAY_MS


def usual_days(frames: Sequence[pl.DataFrame]) -> Usual | None:
    """Find the usual days of the actions, with the columns `user_id` and `time` (ms); None if no action is stray."""
    days, counts = _actions_per_day(frames)
    if counts.sum() < MIN_ACTIONS:
        return None
    low, high = (int(days[np.searchsorted(np.cumsum(counts), share * counts.sum())]) for share in CORE)
    gap = max(MIN_GAP_DAYS, (high - low) // GAPS_PER_CORE)
    ends = np.flatnonzero(np.append(np.diff(days) > gap, True))
    begins = np.append(0, ends[:-1] + 1)
    in_core = (days[begins] <= high) & (days[ends] >= low)
    if in_core.all():
        return None
    sizes = np.add.reduceat(counts, begins)
    lengths = days[ends] - days[begins] + 1
    needed = MIN_DENSITY * sizes[in_core].sum() / lengths[in_core].sum()
    usual = in_core | ((ends - begins + 1 >= MIN_PERIOD_DAYS) & (sizes / lengths >= needed))
    users = max(MIN_PERIOD_USERS, MIN_USER_SHARE * _users(frames, int(days[0]), int(days[-1])))
    for period in np.flatnonzero(usual & ~in_core).tolist():
        usual[period] = _users(frames, int(days[begins[period]]), int(days[ends[period]])) >= users
    first, last = int(days[begins[usual]][0]), int(days[ends[usual]][-1])
    if days[0] >= first and days[-1] <= last:
        return None
    return Usual(first, last, first - max(KEPT_DAYS, KEPT_CORES * (high - low)))


def distance(time: int, other: int) -> str:
    """Return the distance between the days of two times (ms) in words."""
    days = abs(time // _DAY_MS - other // _DAY_MS)
    return f"{days / _YEAR_DAYS:.1f} years" if days >= _YEAR_DAYS else f"{days} days"


def day_of(time: int) -> str:
    """Return the date of a time in ms since 1970."""
    return str(np.datetime64(time, "ms").astype("datetime64[D]"))


def _actions_per_day(frames: Sequence[pl.DataFrame]) -> tuple[_Days, _Days]:
    counted = [frame.select(day=pl.col("time") // _DAY_MS).to_series().value_counts() for frame in frames]
    if not counted:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    total = pl.concat(counted).group_by("day").agg(pl.col("count").sum()).sort("day")
    return total["day"].to_numpy(), total["count"].cast(pl.Int64).to_numpy()


def _users(frames: Sequence[pl.DataFrame], first: int, last: int) -> int:
    """Return the number of users with actions from one day to another."""
    inside = pl.col("time").is_between(first * _DAY_MS, (last + 1) * _DAY_MS - 1)
    return pl.concat([frame.filter(inside).select(pl.col("user_id").unique()) for frame in frames])[
        "user_id"
    ].n_unique()
