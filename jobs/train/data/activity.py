"""Active time: the time axis of a data set without its quiet ends and its gaps.

Cut-offs are placed on this axis, so that they lie where users act, and so that neither a few stray actions nor a closed
season moves them.
"""

from dataclasses import dataclass

import numpy as np

from recmesh.dataset.strays import usual_count
from recmesh.features.spec import DAY_MS, Ints, Longs

CORE = (0.1, 0.9)
"""Quantiles of the actions' times between which the bulk of the data lies."""

MIN_CORE_DAYS = 8
"""Activity is measured by day if the bulk of the data covers at least this many days; else in finer units."""

UNITS_PER_CORE = 64
"""The finer unit is this part of the bulk."""

QUIET_SHARE = 0.1
"""A unit with a smaller share of the usual number of visits is quiet. A visit is a user's activity in a unit."""

MAX_GAP_UNITS = 7
"""A longer sequence of quiet units is a gap, which does not count as time."""


@dataclass(frozen=True)
class ActiveTime:
    """The periods of activity of a data set.

    Attributes:
        begins: int64 [periods], when each period begins, in ms since 1970, ascending. The first one begins with the
            first action that does not lie in a quiet unit.
        ends: int64 [periods], when each period ends. The last one ends one unit of the data's time resolution after the
            last action that does not lie in a quiet unit.
    """

    begins: Longs
    ends: Longs

    @classmethod
    def of(cls, users: Ints, times: Longs, granularity: int) -> "ActiveTime":
        """Find the periods.

        Args:
            users: int32 [actions], ascending.
            times: int64 [actions], ascending for each user.
            granularity: The resolution of the times in ms.
        """
        low, high = np.quantile(times, CORE, method="nearest")
        core = int(high - low)
        unit = DAY_MS if core >= MIN_CORE_DAYS * DAY_MS else max(core // UNITS_PER_CORE, granularity)
        bins = times // unit
        new = np.ones(len(bins), np.bool_)
        new[1:] = (users[1:] != users[:-1]) | (bins[1:] != bins[:-1])
        numbers, visits = np.unique(bins[new], return_counts=True)
        active = numbers[visits >= QUIET_SHARE * usual_count(visits)]
        last = np.flatnonzero(np.append(np.diff(active) > MAX_GAP_UNITS, True))
        begins = active[np.append(0, last[:-1] + 1)] * unit
        ends = (active[last] + 1) * unit
        begins[0] = times[times >= begins[0]].min()
        ends[-1] = times[times < ends[-1]].max() + granularity
        return cls(begins.astype(np.int64), ends.astype(np.int64))

    @property
    def begin(self) -> int:
        """When the first period begins."""
        return int(self.begins[0])

    @property
    def end(self) -> int:
        """When the last period ends."""
        return int(self.ends[-1])

    @property
    def length(self) -> int:
        """Total length of the periods, in ms."""
        return int((self.ends - self.begins).sum())

    def ending_at_midnight(self) -> "ActiveTime":
        """Return the same periods, with the end of the last one rounded up to a full day."""
        ends = self.ends.copy()
        ends[-1] = -(-ends[-1] // DAY_MS) * DAY_MS
        return ActiveTime(self.begins, ends)

    def back(self, length: int) -> int:
        """Return the time, in ms since 1970, after which so much active time is left (in ms; at most all of it)."""
        left = np.cumsum((self.ends - self.begins)[::-1])[::-1]  # from the beginning of each period
        period = np.flatnonzero(left >= length)[-1]
        return int(self.begins[period] + left[period] - length)
