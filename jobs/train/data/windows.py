"""Windows: moments of the past at which we pretend to stand: what came before is known, what came next are the
labels."""

from dataclasses import dataclass

import numpy as np

from jobs.train.data.prepare import Prepared
from recmesh.errors import DataError
from recmesh.features.spec import DAY, Longs, Mask

_WEEK = 7 * DAY
_MOMENTS = 16
_STEPS = 32
_PARTS = 4
_LEAST = 7
_LONGEST = 4 * _WEEK
_COSTLY = 5_000_000
_POSITIONS = (0.625, 0.75, 0.875)
_RETURNING = 0.5
_HIDDEN = 0.2
_FOLDS = 5
_FEW_USERS = 20_000
_PAIRS_LEARNT_FROM = 0.5


@dataclass(frozen=True)
class Window:
    """For each user u the actions start[u]:known[u] are known and begin[u]:until[u] are the labels (positions of
    actions).

    `cold`: the labels are those of users of whom the statistics have seen nothing. `held_out`: kept for evaluation.
    `late`: the labels reach into those of the held-out window, so that only the final fit may see them. `early`: of
    the first half, by which a fit to later windows can be judged. `apart`: one of several that each hide other users,
    by which a fit to all the others can be judged. `end`: the moment (ms) when the labels of a window by the calendar
    end.
    """

    name: str
    as_of: int
    known: Longs
    begin: Longs
    until: Longs
    cold: bool
    held_out: bool
    late: bool = False
    early: bool = False
    apart: bool = False
    end: int = 0

    def labelled(self) -> Longs:
        """The users with labels."""
        return np.flatnonzero(self.until > self.begin)


@dataclass(frozen=True)
class Plan:
    """All windows of a training, in order of time; `clock`: whether they are cut by the calendar.

    `hidden` bool [users]: the users of the cold windows of a plan by the calendar. The one two-tower model that serves
    all its windows must leave them out. In a plan by position each cold window hides other users, and needs a model of
    its own that has seen what is known in that window and no more.
    """

    clock: bool
    windows: tuple[Window, ...]
    hidden: Mask


def plan(data: Prepared, seed: int) -> Plan:
    """Calendar windows where enough users act both before and after a moment, else windows by position in each user's
    order.

    Raises DataError when no window would leave anything to learn from or to test on.
    """
    users = len(data.start) - 1
    hidden = np.random.default_rng(seed).random(users) < _HIDDEN
    span = data.spec.as_of - int(data.times.min())
    length = _whole(min(span / _PARTS, _LONGEST), _WEEK if span / _PARTS >= _WEEK else data.spec.granularity)
    if span >= _LEAST * data.spec.granularity and _returning(data, data.spec.as_of - length) >= _RETURNING:
        step = _whole(span / _STEPS, DAY if span / _STEPS >= DAY else data.spec.granularity)
        chosen = Plan(True, tuple(_calendar(data, length, step, hidden)), hidden)
    else:
        chosen = Plan(False, (*_positions(data, seed), *_folds(data, seed)), np.zeros(users, np.bool_))
    for held_out in (False, True):
        if not sum(len(w.labelled()) for w in chosen.windows if w.held_out is held_out):
            part = "held-out" if held_out else "training"
            raise DataError(f"no user has actions in the {part} windows: nothing to learn or to test on; add actions")
    return chosen


def _whole(wanted: float, unit: int) -> int:
    """The nearest whole number of units, at least one. People have weekly and daily rhythms."""
    return max(round(wanted / unit), 1) * unit


def _returning(data: Prepared, moment: int) -> float:
    """The share of the users active from `moment` on who were active before."""
    first = data.times[data.start[:-1][np.diff(data.start) > 0]]
    last = data.times[data.start[1:][np.diff(data.start) > 0] - 1]
    active = last >= moment
    return float((first[active] < moment).mean()) if active.any() else 0.0


def _calendar(data: Prepared, length: int, step: int, hidden: Mask) -> list[Window]:
    """Moments a step apart, the last of which leaves a whole length for labels; where each is costly, two steps.

    What holds at one moment only, such as the trend of the most popular items, counts for less the more there are.
    """
    few = 1 if len(data.items) <= _COSTLY else 2
    last = data.spec.as_of - length
    moments = [last - number * step * few for number in range(_MOMENTS // few - 1, -1, -1)]
    plain = [moment for moment in moments if moment <= last - length]
    early = plain[: len(plain) // 2]
    return [
        w for at in moments for w in _at(data, at, length, hidden, at == last, at not in (*plain, last), at in early)
    ]


def _at(
    data: Prepared, moment: int, length: int, hidden: Mask, held_out: bool, late: bool, early: bool
) -> list[Window]:
    # A user's actions are in order of time: searching for (user, moment) is searching in one ascending key.
    known = _positions_of(data, moment)
    until = _positions_of(data, moment + length)
    asked = np.where(known > data.start[:-1], until, known)
    name = f"{np.datetime64(moment, 'ms').astype('datetime64[D]')}"
    # What hidden users did before the moment is neither known nor asked for.
    nothing, cold = np.where(hidden, data.start[:-1], known), np.where(hidden, until, known)
    return [
        Window(name, moment, known, known, asked, False, held_out, late, early, end=moment + length),
        Window(f"{name} cold", moment, nothing, known, cold, True, held_out, late, early, end=moment + length),
    ]


def _positions_of(data: Prepared, moment: int) -> Longs:
    earlier = np.concatenate([[0], np.cumsum(data.times < moment)])
    found: Longs = data.start[:-1] + earlier[data.start[1:]] - earlier[data.start[:-1]]
    return found


def _positions(data: Prepared, seed: int) -> list[Window]:
    begin, end = data.start[:-1], data.start[1:]
    cuts = _cuts(begin, end, np.random.default_rng(seed + 2))
    edges = [*cuts, end]
    windows = []
    as_of = data.spec.as_of
    for number, cut in enumerate(cuts):
        held_out = number == len(cuts) - 1
        until = np.where(cut > begin, edges[number + 1], cut)
        windows.append(
            Window(f"from {_POSITIONS[number]:.0%}", as_of, cut, cut, until, False, held_out, early=not number)
        )
    return windows


def _cuts(begin: Longs, end: Longs, rng: np.random.Generator) -> list[Longs]:
    """Where each window by position parts what is known of a user from the labels.

    The parts of a short history would round away: each cut leaves an action or more to the next. Users of two actions
    can be in one window only: half of them are kept out of the held-out one, so that there is something to learn from.
    """
    size = end - begin
    latest = np.where((size == 2) & (rng.random(len(size)) < _PAIRS_LEARNT_FROM), end, end - 1)
    cuts: list[Longs] = []
    for part in reversed(_POSITIONS):
        cut = np.clip(begin + np.ceil(size * part).astype(np.int64), begin, np.maximum(latest, begin))
        cuts.insert(0, cut)
        latest = cut - 1
    return cuts


def _folds(data: Prepared, seed: int) -> list[Window]:
    """Cold windows of a plan by position: each hides a fifth of the users wholly, and asks for all that they did.

    Of few users every fifth takes its turn; of many, two give rows enough.
    """
    begin, end = data.start[:-1], data.start[1:]
    fold = np.random.default_rng(seed + 1).integers(_FOLDS, size=len(begin))
    count = _FOLDS if len(begin) <= _FEW_USERS else 2
    return [
        Window(
            name=f"hidden users {number + 1} of {_FOLDS}",
            as_of=data.spec.as_of,
            known=np.where(fold == number, begin, end),
            begin=begin,
            until=np.where(fold == number, end, begin),
            cold=True,
            held_out=number == count - 1,
            apart=number < count - 1,
        )
        for number in range(count)
    ]
