"""Windows: cut-offs in the past. Actions before a cut-off are known, and the actions that follow are the labels."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from jobs.train.data.prepare import Prepared
from recmesh.dataset.needs import MIN_USERS
from recmesh.errors import DataError
from recmesh.features.spec import DAY_MS, Longs, Mask

_WEEK = 7 * DAY_MS

CUTOFFS = 16
"""Cut-offs of a split by date."""

SPAN_PER_STEP = 32
"""Cut-offs are 1/32 of the active time apart."""

SPAN_PER_LABELS = 4
"""The labels of a window cover a quarter of the active time, but at most `MAX_LABELS_MS`."""

MAX_LABELS_MS = 4 * _WEEK

MIN_SPAN_STEPS = 7
"""A split by date needs at least this many units of the data's time resolution as active time."""

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

FEW_FOLDS = 2
"""The number of groups if five of them would be too small, and the number of windows if two of five suffice."""

MANY_USERS = 20_000
"""With more users than this, two of the folds give enough rows."""

MIN_LISTS = {False: 50, True: 10}
"""Lists that a warm window (False) and a cold window (True) of a split by date need at least. With fewer, a split by
position gives more of them."""

FEWEST_LISTS = {False: 10, True: 5}
"""The same for a split by position. Every data set that training accepts has so many users for its cold windows."""

MIN_DISJOINT = 2
"""Cut-offs of a split by date whose labels end before the held-out window: one to fit to, one to evaluate on."""

TRAINING_SHARE_OF_PAIRS = 0.5
"""Share of the users with two actions that are kept out of the held-out window."""


class Role(Enum):
    """What a window is used for. Its rows always go into the final fit of the ranker, whatever its role.

    A split by date has windows of all roles except FOLD, in this order of time: EARLY, TRAINING, OVERLAPPING and then
    HELD_OUT. Each cut-off has a warm window and a cold window of the same role.
    A split by position has warm windows of the roles EARLY, TRAINING and HELD_OUT, or none. Its cold windows are
    FOLDs, except for the last, which is HELD_OUT.
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
        windows: The windows. In a split by date, the first is warm.
        hidden: bool [users], the users of the cold windows of a split by date. One two-tower model serves all its
            windows, and that model is trained without these users. A split by position has no such users: each of its
            cold windows hides others, and has its own two-tower model.
    """

    clock: bool
    windows: tuple[Window, ...]
    hidden: Mask


def plan(data: Prepared, seed: int) -> Plan:
    """Choose the windows.

    If at least half of the users active in the last quarter of the data were active earlier, and enough users have
    labels in each window, the split is by date; otherwise the last actions of each user are the labels.

    Every window has at least `MIN_LISTS` lists in a split by date and `FEWEST_LISTS` in a split by position. A data set
    whose users have a single action each has cold windows only.

    Raises:
        DataError: Too few users have positive actions.
    """
    hidden = np.random.default_rng(seed).random(len(data.start) - 1) < HIDDEN_SHARE
    counts = _Counts.of(data)
    windows = _by_date(data, counts, hidden)
    if windows:
        return Plan(True, tuple(windows), hidden)
    position = (*_by_position(data, counts, seed), *_folds(data, counts, seed))
    return Plan(False, position, np.zeros(len(hidden), np.bool_))


@dataclass(frozen=True)
class _Counts:
    """Running counts of actions, with which the lists of a window are counted.

    Attributes:
        start: int64 [users + 1]; the actions of user u are start[u]:start[u + 1].
        positive: int64 [actions + 1], the number of positive actions before each action.
        wanted: The same for those that are labels of known users: without repeats, only the first on each item.
    """

    start: Longs
    positive: Longs
    wanted: Longs

    @classmethod
    def of(cls, data: Prepared) -> "_Counts":
        positive = wanted = data.positive
        if not data.spec.repeats:
            first = np.zeros(len(positive), np.bool_)
            first[np.unique(data.pairs(slice(None)), return_index=True)[1]] = True
            wanted = positive & first
        return cls(data.start, *(np.concatenate([[0], np.cumsum(part)]) for part in (positive, wanted)))

    def lists(self, window: Window) -> int:
        """Return the number of lists: users with positive labels and, in a warm window, positive known actions."""
        if window.cold:
            return int((self.positive[window.until] > self.positive[window.begin]).sum())
        known = self.positive[window.known] > self.positive[self.start[:-1]]
        return int((known & (self.wanted[window.until] > self.wanted[window.begin])).sum())

    def users(self) -> Longs:
        """Return the users with positive actions, int64, ascending."""
        return np.flatnonzero(self.positive[self.start[1:]] > self.positive[self.start[:-1]])


def _round_to_unit(wanted: float, unit: int) -> int:
    """Round to a multiple of the unit, at least 1: activity has weekly and daily rhythms."""
    return max(round(wanted / unit), 1) * unit


def _returning_share(data: Prepared, cutoff: int) -> float:
    """Return the share of the users active from the cut-off on who were active before it."""
    first = data.times[data.start[:-1][np.diff(data.start) > 0]]
    last = data.times[data.start[1:][np.diff(data.start) > 0] - 1]
    active = last >= cutoff
    return float((first[active] < cutoff).mean()) if active.any() else 0.0


def _by_date(data: Prepared, counts: _Counts, hidden: Mask) -> list[Window]:
    """Return the windows of a split by date, in order of time; none if the data does not suit such a split.

    Cut-offs lie one step of active time apart. The last one leaves exactly the length of the labels. The more cut-offs,
    the less weight the fit gives to what holds at a single one, such as which items are trending.
    """
    active, granularity = data.active, data.spec.granularity
    quarter, step = active.length / SPAN_PER_LABELS, active.length / SPAN_PER_STEP
    length = _round_to_unit(min(quarter, MAX_LABELS_MS), _WEEK if quarter >= _WEEK else granularity)
    if active.length < MIN_SPAN_STEPS * granularity or (
        _returning_share(data, active.back(length)) < MIN_RETURNING_SHARE
    ):
        return []
    if step >= DAY_MS:
        active = active.ending_at_midnight()
    factor = 1 if len(data.items) <= MANY_ACTIONS else 2
    steps = factor * _round_to_unit(step, DAY_MS if step >= DAY_MS else granularity)
    lefts = range(length, active.length, steps)[: CUTOFFS // factor]
    pairs = (_at_cutoff(data, active.back(left), active.back(left - length), hidden) for left in lefts)
    return _with_roles(_with_enough_lists(pairs, counts))


def _with_enough_lists(pairs: Iterable[tuple[Window, Window]], counts: _Counts) -> list[tuple[Window, Window]]:
    """Leave out cut-offs with too few lists, and those with the same known actions as the next one.

    Args:
        pairs: The warm and the cold window of each cut-off, the latest first.
        counts: Counts the lists.

    Returns:
        The others, in order of time. None at all if the latest is left out.
    """
    kept: list[tuple[Window, Window]] = []
    for pair in pairs:
        enough = all(counts.lists(window) >= MIN_LISTS[window.cold] for window in pair)
        if enough and not (kept and np.array_equal(pair[0].known, kept[-1][0].known)):
            kept.append(pair)
        elif not kept:
            return []
    return kept[::-1]


def _with_roles(cutoffs: Sequence[tuple[Window, Window]]) -> list[Window]:
    """Give the windows of a split by date their roles. Without windows to fit to and to evaluate on, there are none."""
    last = cutoffs[-1][0].as_of if cutoffs else 0
    disjoint = sum(warm.end <= last for warm, _ in cutoffs)
    if disjoint < MIN_DISJOINT:
        return []

    def role(number: int) -> Role:
        if number == len(cutoffs) - 1:
            return Role.HELD_OUT
        if number >= disjoint:
            return Role.OVERLAPPING
        return Role.EARLY if number < disjoint // 2 else Role.TRAINING

    return [replace(window, role=role(number)) for number, pair in enumerate(cutoffs) for window in pair]


def _at_cutoff(data: Prepared, cutoff: int, end: int, hidden: Mask) -> tuple[Window, Window]:
    """Return the warm and the cold window of a cut-off, whose labels end at `end`."""
    known, until = _positions_at(data, cutoff), _positions_at(data, end)
    name = f"{np.datetime64(cutoff, 'ms').astype('datetime64[D]')}"
    warm_until = np.where(known > data.start[:-1], until, known)
    # The actions of hidden users before the cut-off are neither known nor labels.
    cold_known, cold_until = np.where(hidden, data.start[:-1], known), np.where(hidden, until, known)
    return (
        Window(name, cutoff, known, known, warm_until, Role.TRAINING, end=end),
        Window(f"{name} cold", cutoff, cold_known, known, cold_until, Role.TRAINING, cold=True, end=end),
    )


def _positions_at(data: Prepared, cutoff: int) -> Longs:
    """Return for each user the position of the first action that is not before the cut-off."""
    earlier = np.concatenate([[0], np.cumsum(data.times < cutoff)])
    found: Longs = data.start[:-1] + earlier[data.start[1:]] - earlier[data.start[:-1]]
    return found


def _by_position(data: Prepared, counts: _Counts, seed: int) -> list[Window]:
    """Return the warm windows of a split by position.

    Windows with too few lists are left out. Without a window to fit to, or without one to evaluate on,
    there are none.
    """
    begin, end = data.start[:-1], data.start[1:]
    cuts = _cuts(begin, end, np.random.default_rng(seed + 2))
    edges = [*cuts, end]
    roles = (Role.EARLY, Role.TRAINING, Role.HELD_OUT)
    windows = [
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
    enough = [window for window in windows if counts.lists(window) >= FEWEST_LISTS[window.cold]]
    return enough if len(enough) > 1 and enough[-1].held_out else []


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


def _folds(data: Prepared, counts: _Counts, seed: int) -> list[Window]:
    """Return the cold windows of a split by position.

    Each hides all actions of a part of the users, and its labels are all of their actions.
    """
    begin, end = data.start[:-1], data.start[1:]
    active = counts.users()
    if len(active) < MIN_USERS:
        raise DataError(f"{len(active)} users with positive actions are too few; training needs at least {MIN_USERS}")
    folds = FOLDS if len(active) >= FOLDS * MIN_LISTS[True] else FEW_FOLDS
    count = folds if len(begin) <= MANY_USERS else FEW_FOLDS
    rng = np.random.default_rng(seed + 1)
    fold = rng.integers(folds, size=len(begin))
    if np.bincount(fold[active], minlength=folds).min() < FEWEST_LISTS[True]:
        fold[active] = rng.permutation(len(active)) % folds
    return [
        Window(
            name=f"hidden users {number + 1} of {folds}",
            as_of=data.spec.as_of,
            known=np.where(fold == number, begin, end),
            begin=begin,
            until=np.where(fold == number, end, begin),
            role=Role.HELD_OUT if number == count - 1 else Role.FOLD,
            cold=True,
        )
        for number in range(count)
    ]
