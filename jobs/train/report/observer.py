"""Looks on while the lists of a held-out window are made."""

from collections.abc import Sequence

import numpy as np

from jobs.train.data.prepare import Prepared
from jobs.train.data.rows import Candidates, Moment
from jobs.train.report.baselines import baselines_of
from jobs.train.report.incumbent import Incumbent
from jobs.train.selection.held_out import Observed
from recmesh.evaluation import metrics
from recmesh.evaluation.report import POPULARITY
from recmesh.features import Segment
from recmesh.features.spec import Floats, Ints, Mask
from recmesh.features.vocabulary import FIRST

_HEAD = 0.01


class Observer:
    """Takes down what other means, and the active release, give for the users of one segment of a held-out window."""

    def __init__(self, data: Prepared, moment: Moment, segment: Segment, active: Incumbent) -> None:
        self._data = data
        self._moment = moment
        self._active = active
        self._baselines = baselines_of(segment)
        self._others: dict[str, list[Ints]] = {name: [] for name in self._baselines}
        self._judged: list[Ints | None] = []

    def see(self, one: Candidates) -> None:
        """One list, at the time when it is made: the user's votes are still in memory."""
        for name, baseline in self._baselines.items():
            self._others[name].append(baseline(self._moment.encoder, one))
        self._judged.append(self._active.top(one, self._moment.window))

    def observed(self, found: Sequence[Candidates]) -> Observed:
        """All that was seen; `found`: the lists, in the order in which they were seen."""
        window, statistics = self._moment.window, self._moment.encoder.statistics
        buyers = statistics.buyers[:-1]
        return Observed(
            window=window,
            found=found,
            others=self._others,
            owned=np.array([len(one.user.owned.items) for one in found], np.int64),
            idle=np.array([_idle(one) for one in found], np.float32),
            gaps=np.array([(one.user.codes < FIRST).sum() for one in found], np.int64),
            information=_information(buyers, int((window.known > self._data.start[:-1]).sum())),
            head=_most_popular(statistics.order),
            active=self._judged,
        )

    def popularity(self, found: Sequence[Candidates]) -> dict[str, float]:
        """Metrics of plain popularity."""
        lists = self._others[POPULARITY]
        return metrics((items, one.wanted) for items, one in zip(lists, found, strict=True))


def _idle(one: Candidates) -> float:
    days = one.user.owned.days
    return float(days.min()) if len(days) else 0.0


def _information(buyers: Floats, users: int) -> Floats:
    """-log2 of the share of users who acted on each item, smoothed by one."""
    information: Floats = -np.log2((buyers + 1) / (users + 1)).astype(np.float32)
    return information


def _most_popular(order: Ints) -> Mask:
    head = np.zeros(len(order), np.bool_)
    head[order[: max(round(_HEAD * len(order)), 1)]] = True
    return head
