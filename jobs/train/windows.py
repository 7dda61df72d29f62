"""Windows: moments of the past at which we pretend to stand: what came before is known, what came next are the
labels."""

from dataclasses import dataclass

import numpy as np

from jobs.train.prepare import Prepared
from recmesh.errors import DataError
from recmesh.features.spec import DAY, Longs, Mask

_WEEK = 7 * DAY
_MOMENTS = 4
_PARTS = 7
_POSITIONS = (0.625, 0.75, 0.875)
_RETURNING = 0.5
_HIDDEN = 0.2


@dataclass(frozen=True)
class Window:
    """For each user u the actions start[u]:known[u] are known and begin[u]:until[u] are the labels (positions of
    actions).

    `cold`: the labels are those of users of whom the statistics have seen nothing. `held_out`: kept for evaluation.
    """

    name: str
    as_of: int
    known: Longs
    begin: Longs
    until: Longs
    cold: bool
    held_out: bool

    def labelled(self) -> Longs:
        """The users with labels."""
        return np.flatnonzero(self.until > self.begin)


@dataclass(frozen=True)
class Plan:
    """All windows of a training, in order of time; `clock`: whether they are cut by the calendar.

    `hidden` bool [users]: the users of the cold windows. Whoever is to know nothing of them (the two-tower model that
    serves
    these windows) must leave them out.
    """

    clock: bool
    windows: tuple[Window, ...]
    hidden: Mask


def plan(data: Prepared, seed: int) -> Plan:
    """Calendar windows where enough users act both before and after a moment, else windows by position in each user's
    order.

    Raises DataError when no window would leave anything to learn from or to test on.
    """
    hidden = np.random.default_rng(seed).random(len(data.start) - 1) < _HIDDEN
    span = data.spec.as_of - int(data.times.min())
    length = _length(span / _PARTS, data.spec.granularity)
    if span >= _PARTS * data.spec.granularity and _returning(data, data.spec.as_of - length) >= _RETURNING:
        moments = [data.spec.as_of - length * number for number in range(_MOMENTS, 0, -1)]
        chosen = Plan(
            True, tuple(w for m in moments for w in _calendar(data, m, length, hidden, m == moments[-1])), hidden
        )
    else:
        chosen = Plan(False, tuple(_positions(data, hidden, seed)), hidden)
    for held_out in (False, True):
        if not sum(len(w.labelled()) for w in chosen.windows if w.held_out is held_out and not w.cold):
            part = "held-out" if held_out else "training"
            raise DataError(
                f"no user has actions both before and in the {part} windows: nothing to learn or to test on; "
                "add more actions"
            )
    return chosen


def _length(wanted: float, granularity: int) -> int:
    """The nearest whole number of weeks where that is at least one: people have weekly rhythms; else of granules."""
    unit = _WEEK if wanted >= _WEEK else granularity
    return max(round(wanted / unit), 1) * unit


def _returning(data: Prepared, moment: int) -> float:
    """The share of the users active from `moment` on who were active before."""
    first = data.times[data.start[:-1][np.diff(data.start) > 0]]
    last = data.times[data.start[1:][np.diff(data.start) > 0] - 1]
    active = last >= moment
    return float((first[active] < moment).mean()) if active.any() else 0.0


def _calendar(data: Prepared, moment: int, length: int, hidden: Mask, held_out: bool) -> list[Window]:
    # A user's actions are in order of time: searching for (user, moment) is searching in one ascending key.
    known = _positions_of(data, moment)
    until = _positions_of(data, moment + length)
    name = f"{np.datetime64(moment, 'ms').astype('datetime64[D]')}"
    warm = Window(name, moment, known, known, np.where(known > data.start[:-1], until, known), False, held_out)
    # What hidden users did before the moment is neither known nor asked for.
    nothing = np.where(hidden, data.start[:-1], known)
    return [warm, Window(f"{name} cold", moment, nothing, known, np.where(hidden, until, known), True, held_out)]


def _positions_of(data: Prepared, moment: int) -> Longs:
    earlier = np.concatenate([[0], np.cumsum(data.times < moment)])
    found: Longs = data.start[:-1] + earlier[data.start[1:]] - earlier[data.start[:-1]]
    return found


def _positions(data: Prepared, hidden: Mask, seed: int) -> list[Window]:
    begin, size = data.start[:-1], np.diff(data.start)
    cuts = [begin + np.minimum(np.ceil(size * part), np.maximum(size - 1, 0)).astype(np.int64) for part in _POSITIONS]
    edges = [*cuts, data.start[1:]]
    windows = []
    as_of = data.spec.as_of
    for number, cut in enumerate(cuts):
        held_out = number == len(cuts) - 1
        until = np.where(cut > begin, edges[number + 1], cut)
        windows.append(Window(f"from {_POSITIONS[number]:.0%}", as_of, cut, cut, until, False, held_out))
    half = np.random.default_rng(seed + 1).random(len(begin)) < 0.5
    for held_out in (False, True):
        asked = hidden & (half == held_out)
        known = np.where(hidden, begin, data.start[1:])
        windows.append(
            Window("hidden users", as_of, known, begin, np.where(asked, data.start[1:], begin), True, held_out)
        )
    return windows
