"""Records facts about the lists of a held-out window while they are made."""

from collections.abc import Sequence

import numpy as np

from jobs.train.data.prepare import Prepared
from jobs.train.data.rows import Candidates, Snapshot
from jobs.train.report.baselines import baselines_of
from jobs.train.report.incumbent import Incumbent
from jobs.train.selection.held_out import Observed
from recmesh.evaluation import per_user
from recmesh.evaluation.report import POPULARITY
from recmesh.features import Segment
from recmesh.features.spec import Array, Floats, Ints, Mask
from recmesh.features.vocabulary import FIRST

HEAD_SHARE = 0.01
"""Share of the items that count as the most popular ones."""


class Observer:
    """Records the lists of the baselines and of the active release for one segment of a held-out window.

    Args:
        data: The data set.
        snapshot: The held-out window with its features.
        segment: The segment.
        incumbent: The active release.
    """

    def __init__(self, data: Prepared, snapshot: Snapshot, segment: Segment, incumbent: Incumbent) -> None:
        self._data = data
        self._snapshot = snapshot
        self._incumbent = incumbent
        self._baselines = baselines_of(segment)
        self._others: dict[str, list[Ints]] = {name: [] for name in self._baselines}
        self._incumbents: list[Ints | None] = []

    def record(self, candidates: Candidates) -> None:
        """Record the lists of one user. Must be called while the neighbour votes of the user are in memory."""
        for name, baseline in self._baselines.items():
            self._others[name].append(baseline(self._snapshot.encoder, candidates))
        self._incumbents.append(self._incumbent.top(candidates, self._snapshot.window))

    def observed(self, found: Sequence[Candidates]) -> Observed:
        """Return everything that was recorded; `found` are the lists in the order of the calls of `record`."""
        window, statistics = self._snapshot.window, self._snapshot.encoder.statistics
        buyers = statistics.buyers[:-1]
        users = [candidates.user for candidates in found]
        return Observed(
            window=window,
            found=found,
            others=self._others,
            owned=np.array([len(user.owned.items) for user in users], np.int64),
            idle=np.array([_idle_days(candidates) for candidates in found], np.float32),
            gaps=np.array([(user.codes < FIRST).sum() for user in users], np.int64),
            information=_information(buyers, int((window.known > self._data.start[:-1]).sum())),
            head=_most_popular(statistics.order),
            incumbent=self._incumbents,
        )

    def popularity(self, found: Sequence[Candidates]) -> Array:
        """Return the metrics of the popularity baseline for each user, float [users, 3]."""
        lists = self._others[POPULARITY]
        return per_user((items, candidates.wanted) for items, candidates in zip(lists, found, strict=True))


def _idle_days(candidates: Candidates) -> float:
    days = candidates.user.owned.days
    return float(days.min()) if len(days) else 0.0


def _information(buyers: Floats, users: int) -> Floats:
    """Return -log2 of the share of users who acted on each item, with 1 added to both counts."""
    information: Floats = -np.log2((buyers + 1) / (users + 1)).astype(np.float32)
    return information


def _most_popular(order: Ints) -> Mask:
    head = np.zeros(len(order), np.bool_)
    head[order[: max(round(HEAD_SHARE * len(order)), 1)]] = True
    return head
