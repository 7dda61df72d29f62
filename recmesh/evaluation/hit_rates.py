"""Join logged answers with what their users did next: how often did they act on what they were shown?

An answer is evaluated by the user's positive actions within a horizon that begins with the answer. For a list of shown
items, of which a user acted on some (the hits):

    hit@k      share of the answers with a hit among the first k items
    recall@k   hits among the first k items, divided by the number of items that the user acted on: the mean over the
               answers whose user acted on anything
    acted      share of the shown items that are hits

Of a channel, only the items that it proposed count as shown; for hit@k, only the answers that show one of these among
the first k. An item counts for each channel that proposed it. recall@k of a channel is the mean over the answers in
which the channel took part.

Each rate is a ratio of two sums over users, and answers to one user resemble each other. Its interval is that of Wilson
(1927) for as many independent trials as Kish's effective number of users: (sum of n)² / (sum of n²), where n is what a
user adds to the denominator. This is cautious: it takes all answers to a user for one.
"""

import math
import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import polars as pl

from recmesh.answers import LoggedAnswer
from recmesh.contract import NO_USER_IDS
from recmesh.dataset import DataSet
from recmesh.dataset.times import DAY_MS
from recmesh.dataset.values import action_weights
from recmesh.errors import DataError
from recmesh.evaluation.metrics import NORMAL_95
from recmesh.evaluation.report import CHAIN
from recmesh.evaluation.shown import Rate, ReleaseRates, ShownRates

NO_USER, NOT_IN_DATA, OPEN = "without a user", "user not in the data set", "horizon not over"
"""Why an answer is left out."""

Clock = Literal["wall", "data"]


@dataclass(frozen=True, slots=True)
class ShownAnswer:
    """What the evaluation needs of a logged answer."""

    user_id: str
    release: str
    time: int
    now: int
    items: tuple[str, ...]
    proposals: Mapping[str, Set[str]]

    @classmethod
    def of(cls, answer: LoggedAnswer) -> "ShownAnswer":
        """Keep the parts of an answer that are about shown items."""
        shown = frozenset(answer.items)
        proposals = {name: items & shown for name, items in answer.proposals().items()}
        return cls(answer.user_id, answer.release, answer.time, answer.now, answer.items, proposals)


@dataclass(frozen=True)
class _Actions:
    """The positive actions of a user, in order of time."""

    times: Sequence[int]
    items: Sequence[str]

    def between(self, start: int, end: int) -> Set[str]:
        """The items acted on from `start` until before `end`, in milliseconds."""
        return set(self.items[bisect_left(self.times, start) : bisect_left(self.times, end)])


@dataclass
class _Ratio:
    """Numerator and denominator of a rate, by user."""

    users: dict[str, list[float]] = field(default_factory=lambda: defaultdict(lambda: [0.0, 0.0]))

    def add(self, user: str, hits: float, of: int) -> None:
        if of:
            sums = self.users[user]
            sums[0] += hits
            sums[1] += of

    def rate(self) -> Rate:
        sums = np.array(list(self.users.values()))
        hits, of = sums.sum(0).tolist()
        low, high = wilson(hits / of, of**2 / float((sums[:, 1] ** 2).sum()))
        return Rate(value=hits / of, low=low, high=high, of=round(of))


def wilson(share: float, trials: float) -> tuple[float, float]:
    """Return the ends of the 95 % score interval of a share of `trials` independent trials."""
    z2 = NORMAL_95**2
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = NORMAL_95 / (1 + z2 / trials) * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    return max(centre - half, 0.0), min(centre + half, 1.0)


def hit_rates(
    answers: Sequence[ShownAnswer],
    data: DataSet,
    cutoffs: Sequence[int] = (1, 10),
    days: float = 7.0,
    clock: Clock | None = None,
) -> ShownRates:
    """Evaluate logged answers by the next actions of their users.

    Args:
        answers: At least one.
        data: A data set with the actions that followed.
        cutoffs: The values of k.
        days: Length of the horizon.
        clock: Whether the horizon of an answer begins at its time by the wall clock or at the time that counted as the
            present, in the time of the data. By default the first if the data set has actions after the first answer:
            data sets from the past have none.

    Raises:
        DataError: The data set has no times, or no answer can be evaluated.
    """
    if data.schema.action.time is None or data.actions.is_empty():
        raise DataError(f"{data.folder}: its actions have no times; without them nothing follows an answer")
    times = data.actions["time"].to_numpy()
    end = int(times[-1]) + (DAY_MS if (times % DAY_MS == 0).all() else 1)
    clock = clock or ("wall" if min(answer.time for answer in answers) < end else "data")
    horizon = round(days * DAY_MS)
    actions = _actions(data, {answer.user_id for answer in answers})
    users = set(data.users.filter(pl.col("user_id").is_in([answer.user_id for answer in answers]))["user_id"])
    left_out: Counter[str] = Counter()
    evaluated: dict[str, list[tuple[ShownAnswer, Set[str]]]] = defaultdict(list)
    for answer in sorted(answers, key=lambda answer: answer.time, reverse=True):
        start = answer.time if clock == "wall" else answer.now
        if answer.user_id in NO_USER_IDS:
            left_out[NO_USER] += 1
        elif answer.user_id not in users:
            left_out[NOT_IN_DATA] += 1
        elif start + horizon > end:
            left_out[OPEN] += 1
        else:
            acted = actions[answer.user_id].between(start, start + horizon) if answer.user_id in actions else set()
            evaluated[answer.release].append((answer, acted))
    if not evaluated:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in left_out.items())
        raise DataError(
            f"{data.folder}: none of the {len(answers):,} answers can be evaluated ({reasons}): "
            "use a later export of the data, or fewer --days"
        )
    releases = tuple(_of_release(release, shown, cutoffs) for release, shown in evaluated.items())
    reasons_left_out = {reason: left_out[reason] for reason in (NO_USER, NOT_IN_DATA, OPEN) if left_out[reason]}
    return ShownRates(evaluated=time.time(), clock=clock, days=days, releases=releases, left_out=reasons_left_out)


def _actions(data: DataSet, users: Set[str]) -> dict[str, _Actions]:
    """The positive actions of these users."""
    positive = pl.Series(action_weights(data.schema, data.actions) > 0)
    found = data.actions.filter(positive).with_columns(pl.col("user_id", "sku_id").cast(pl.String))
    found = found.filter(pl.col("user_id").is_in(list(users)))
    groups = found.group_by("user_id", maintain_order=True).agg("time", "sku_id")
    return {user: _Actions(times, items) for user, times, items in groups.iter_rows()}


def _of_release(release: str, shown: Sequence[tuple[ShownAnswer, Set[str]]], cutoffs: Sequence[int]) -> ReleaseRates:
    ratios: dict[str, dict[str, _Ratio]] = defaultdict(lambda: defaultdict(_Ratio))
    for answer, acted in shown:
        everything = frozenset(answer.items)
        for system, proposed in {CHAIN: everything, **answer.proposals}.items():
            for metric, hits, of in _figures(answer.items, proposed, acted, cutoffs, whole=system == CHAIN):
                ratios[system][metric].add(answer.user_id, hits, of)
    systems = {
        system: {metric: ratio.rate() for metric, ratio in metrics.items() if ratio.users}
        for system, metrics in ratios.items()
    }
    return ReleaseRates(
        release=release,
        answers=len(shown),
        users=len({answer.user_id for answer, _ in shown}),
        followed=sum(bool(acted) for _, acted in shown),
        systems={system: rates for system, rates in systems.items() if rates},
    )


def _figures(
    items: Sequence[str], proposed: Set[str], acted: Set[str], cutoffs: Iterable[int], *, whole: bool
) -> Iterator[tuple[str, float, int]]:
    """Yield name, numerator and denominator of each metric of one answer; `whole`: of the entire list."""
    for cutoff in cutoffs:
        first = [item for item in items[:cutoff] if item in proposed]
        hits = sum(item in acted for item in first)
        yield f"hit@{cutoff}", float(hits > 0), int(whole or bool(first))
        yield f"recall@{cutoff}", hits / len(acted) if acted else 0.0, int(bool(acted))
    counted = [item for item in items if item in proposed]
    yield "acted", float(sum(item in acted for item in counted)), len(counted)
