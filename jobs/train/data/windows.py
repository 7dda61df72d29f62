"""Windows: cut-offs in the past. Actions before a cut-off are known, and the actions that follow are the labels."""

from dataclasses import dataclass
from enum import Enum

import numpy as np

from jobs.train.data.prepare import Prepared
from recmesh.errors import DataError
from recmesh.features.spec import DAY_MS, Longs, Mask

_WEEK = 7 * DAY_MS

CUTOFFS = 16
"""Cut-offs of a split by date."""

SPAN_PER_STEP = 32
"""Cut-offs are 1/32 of the time span apart."""

SPAN_PER_LABELS = 4
"""The labels of a window cover a quarter of the time span, but at most `MAX_LABELS_MS`."""

MAX_LABELS_MS = 4 * _WEEK

MIN_SPAN_STEPS = 7
"""A split by date needs a time span of at least this many units of the data's time resolution."""

MANY_ACTIONS = 5_000_000
"""With more actions than this, half as many cut-offs are used, because each is expensive."""

MIN_RETURNING_SHARE = 0.5
"""A split by date needs at least this share of users who were active both before and in the last quarter."""

POSITIONS = (0.625, 0.75, 0.875)
"""Where a split by position cuts each history."""

HIDDEN_SHARE = 0.2
"""Share of the users that the cold windows of a split by date hide."""

FOLDS = 5
"""A split by position divides the users into this many groups, and a cold window hides one of them."""

MANY_USERS = 20_000
"""With more users than this, two of the folds give enough rows."""

TRAINING_SHARE_OF_PAIRS = 0.5
"""Share of the users with two actions that are kept out of the held-out window."""


class Role(Enum):
    """What a window is used for. Its rows always go into the final fit of the ranker, whatever its role.

    A split by date has windows of all roles except FOLD, in this order of time: EARLY, TRAINING, OVERLAPPING and then
    HELD_OUT. Each cut-off has a warm window and a cold window of the same role.
    A split by position has warm windows of the roles EARLY, TRAINING and HELD_OUT. Its cold windows are FOLDs, except
    for the last, which is HELD_OUT.
    """

    TRAINING = "training"
    """Rows to fit on while options are evaluated."""

    EARLY = "early"
    """As TRAINING; and a fit to the later windows is evaluated on the lists of these, the earliest ones."""

    OVERLAPPING = "overlapping"
    """The labels overlap those of the held-out window, so only the final fit may use them."""

    FOLD = "fold"
    """As TRAINING; and a fit to the other cold windows is evaluated on its lists, because each hides other users."""

    HELD_OUT = "held-out"
    """The evaluation that the report and the manifest show. Only the final fit uses the rows."""

    @property
    def usable_before_evaluation(self) -> bool:
        """Whether a model that is evaluated on the held-out window may be fitted on such a window."""
        return self not in (Role.OVERLAPPING, Role.HELD_OUT)


@dataclass(frozen=True)
class Window:
    """One cut-off, with what is known and what is to be predicted there.

    For user u, the actions start[u]:known[u] are known, and the actions begin[u]:until[u] are the labels. All three
    arrays are int64 [users] and hold positions in the actions of the data set.

    Attributes:
        name: Shown in the report.
        as_of: The cut-off, in ms since 1970.
        known: End of the known actions.
        begin: Begin of the labels.
        until: End of the labels.
        role: What the window is used for.
        cold: Whether the labels belong to users whose actions the statistics and the towers have not seen.
        end: When the labels end, in ms since 1970. 0 in a split by position.
    """

    name: str
    as_of: int
    known: Longs
    begin: Longs
    until: Longs
    role: Role
    cold: bool = False
    end: int = 0

    @property
    def held_out(self) -> bool:
        """Whether this is a window for evaluation."""
        return self.role is Role.HELD_OUT

    def labelled(self) -> Longs:
        """Return the users with labels, int64, ascending."""
        return np.flatnonzero(self.until > self.begin)


@dataclass(frozen=True)
class Plan:
    """All windows of a training, in order of time.

    Attributes:
        clock: Whether the split is by date, and not by position in each history.
        windows: The windows. The first is warm.
        hidden: bool [users], the users of the cold windows of a split by date. One two-tower model serves all its
            windows, and that model is trained without these users. A split by position has no such users: each of its
            cold windows hides others, and has its own two-tower model.
    """

    clock: bool
    windows: tuple[Window, ...]
    hidden: Mask


def plan(data: Prepared, seed: int) -> Plan:
    """Choose the windows.

    If at least half of the users active in the last quarter of the data were active earlier, the split is by date;
    otherwise the last actions of each user are the labels.

    Raises:
        DataError: No user has labels in a training window, or none in a held-out window.
    """
    users = len(data.start) - 1
    hidden = np.random.default_rng(seed).random(users) < HIDDEN_SHARE
    span = data.spec.as_of - int(data.times.min())
    quarter = span / SPAN_PER_LABELS
    length = _round_to_unit(min(quarter, MAX_LABELS_MS), _WEEK if quarter >= _WEEK else data.spec.granularity)
    long_enough = span >= MIN_SPAN_STEPS * data.spec.granularity
    if long_enough and _returning_share(data, data.spec.as_of - length) >= MIN_RETURNING_SHARE:
        step = span / SPAN_PER_STEP
        step_ms = _round_to_unit(step, DAY_MS if step >= DAY_MS else data.spec.granularity)
        chosen = Plan(True, tuple(_by_date(data, length, step_ms, hidden)), hidden)
    else:
        chosen = Plan(False, (*_by_position(data, seed), *_folds(data, seed)), np.zeros(users, np.bool_))
    for held_out in (False, True):
        if not sum(len(window.labelled()) for window in chosen.windows if window.held_out is held_out):
            part = "held-out" if held_out else "training"
            raise DataError(f"no user has actions in the {part} windows; training needs more actions")
    return chosen


def _round_to_unit(wanted: float, unit: int) -> int:
    """Round to a multiple of the unit, at least 1: activity has weekly and daily rhythms."""
    return max(round(wanted / unit), 1) * unit


def _returning_share(data: Prepared, cutoff: int) -> float:
    """Return the share of the users active from the cut-off on who were active before it."""
    first = data.times[data.start[:-1][np.diff(data.start) > 0]]
    last = data.times[data.start[1:][np.diff(data.start) > 0] - 1]
    active = last >= cutoff
    return float((first[active] < cutoff).mean()) if active.any() else 0.0


def _by_date(data: Prepared, length: int, step: int, hidden: Mask) -> list[Window]:
    """Place cut-offs one step apart. The last one leaves exactly `length` for its labels.

    The more cut-offs, the less weight the fit gives to what holds at a single one, such as which items are trending.
    """
    factor = 1 if len(data.items) <= MANY_ACTIONS else 2
    last = data.spec.as_of - length
    cutoffs = [last - number * step * factor for number in range(CUTOFFS // factor - 1, -1, -1)]
    disjoint = sum(cutoff + length <= last for cutoff in cutoffs)

    def role(number: int) -> Role:
        if cutoffs[number] == last:
            return Role.HELD_OUT
        if number >= disjoint:
            return Role.OVERLAPPING
        return Role.EARLY if number < disjoint // 2 else Role.TRAINING

    return [
        window
        for number, cutoff in enumerate(cutoffs)
        for window in _at_cutoff(data, cutoff, length, hidden, role(number))
    ]


def _at_cutoff(data: Prepared, cutoff: int, length: int, hidden: Mask, role: Role) -> list[Window]:
    """Return the warm and the cold window of a cut-off."""
    known = _positions_at(data, cutoff)
    until = _positions_at(data, cutoff + length)
    end = cutoff + length
    name = f"{np.datetime64(cutoff, 'ms').astype('datetime64[D]')}"
    warm_until = np.where(known > data.start[:-1], until, known)
    # The actions of hidden users before the cut-off are neither known nor labels.
    cold_known, cold_until = np.where(hidden, data.start[:-1], known), np.where(hidden, until, known)
    return [
        Window(name, cutoff, known, known, warm_until, role, end=end),
        Window(f"{name} cold", cutoff, cold_known, known, cold_until, role, cold=True, end=end),
    ]


def _positions_at(data: Prepared, cutoff: int) -> Longs:
    """Return for each user the position of the first action that is not before the cut-off."""
    earlier = np.concatenate([[0], np.cumsum(data.times < cutoff)])
    found: Longs = data.start[:-1] + earlier[data.start[1:]] - earlier[data.start[:-1]]
    return found


def _by_position(data: Prepared, seed: int) -> list[Window]:
    """Return the warm windows of a split by position."""
    begin, end = data.start[:-1], data.start[1:]
    cuts = _cuts(begin, end, np.random.default_rng(seed + 2))
    edges = [*cuts, end]
    roles = (Role.EARLY, Role.TRAINING, Role.HELD_OUT)
    return [
        Window(
            name=f"from {position:.0%}",
            as_of=data.spec.as_of,
            known=cut,
            begin=cut,
            until=np.where(cut > begin, edges[number + 1], cut),
            role=role,
        )
        for number, (position, cut, role) in enumerate(zip(POSITIONS, cuts, roles, strict=True))
    ]


def _cuts(begin: Longs, end: Longs, rng: np.random.Generator) -> list[Longs]:
    """Return for each of `POSITIONS` where it cuts the actions of each user.

    Rounding would leave short histories without labels, so each cut leaves at least one action to the next. A user
    with two actions fits into one window only: half of these users are kept out of the held-out window, because
    otherwise none of them would be in a training window.
    """
    size = end - begin
    latest = np.where((size == 2) & (rng.random(len(size)) < TRAINING_SHARE_OF_PAIRS), end, end - 1)
    cuts: list[Longs] = []
    for position in reversed(POSITIONS):
        cut = np.clip(begin + np.ceil(size * position).astype(np.int64), begin, np.maximum(latest, begin))
        cuts.insert(0, cut)
        latest = cut - 1
    return cuts


def _folds(data: Prepared, seed: int) -> list[Window]:
    """Return the cold windows of a split by position.

    Each hides all actions of a fifth of the users, and its labels are all of their actions.
    """
    begin, end = data.start[:-1], data.start[1:]
    fold = np.random.default_rng(seed + 1).integers(FOLDS, size=len(begin))
    count = FOLDS if len(begin) <= MANY_USERS else 2
    return [
        Window(
            name=f"hidden users {number + 1} of {FOLDS}",
            as_of=data.spec.as_of,
            known=np.where(fold == number, begin, end),
            begin=begin,
            until=np.where(fold == number, end, begin),
            role=Role.HELD_OUT if number == count - 1 else Role.FOLD,
            cold=True,
        )
        for number in range(count)
    ]
