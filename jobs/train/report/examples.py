"""Examples: a few held-out users with their history, their list, and the reasons for it."""

from collections.abc import Iterable, Sequence

import numpy as np

from jobs.train.data.prepare import Prepared
from jobs.train.data.rows import Candidates
from jobs.train.report.calibration import probability
from jobs.train.report.times import UNKNOWN
from jobs.train.selection.held_out import Judged, Observed
from recmesh.dataset import DataSet
from recmesh.evaluation import per_user
from recmesh.evaluation.report import Calibration, Example, Past, Shown
from recmesh.features import FeatureSpec
from recmesh.features.spec import DAY_MS, Floats, Ints

SHOWN_ITEMS, SHOWN_ACTIONS, SHOWN_REASONS = 10, 8, 3
MIN_REASON = 0.005
"""Smaller contributions to a score are not shown."""


class Examples:
    """Makes the examples of a data set.

    Args:
        dataset: The data set.
        data: The same, encoded.
        spec: The feature spec of the release.
    """

    def __init__(self, dataset: DataSet, data: Prepared, spec: FeatureSpec) -> None:
        self._users, self._items = dataset.users, dataset.items
        self._spec = spec
        self._types = data.spec.action_types
        self._sku_ids = data.catalogue.sku_ids

    def __call__(
        self, chain: Sequence[Ints], judged: Judged, observed: Observed, calibration: Calibration | None
    ) -> list[Example]:
        """Return the examples of one segment: a good list, one with hits further down, and one without hits.

        They are chosen by their rank alone.
        """
        return [
            self._example(title, observed.found[k], judged, judged.scores[k], chain[k], calibration)
            for title, k in _chosen(chain, observed.found)
        ]

    def _example(
        self,
        title: str,
        candidates: Candidates,
        judged: Judged,
        scores: Floats,
        items: Ints,
        calibration: Calibration | None,
    ) -> Example:
        profile = {
            name: value for name, value in self._users.row(candidates.row, named=True).items() if value is not None
        }
        return Example(
            title=title,
            user_id=profile.pop("user_id"),
            profile=profile,
            actions=len(candidates.user.history.items) + len(candidates.user.history.older),
            history=tuple(self._history(candidates)),
            shown=tuple(self._shown(candidates, judged, scores, items[:SHOWN_ITEMS], calibration)),
            wanted=len(candidates.wanted),
            found=int(np.isin(items, candidates.wanted).sum()),
        )

    def _history(self, candidates: Candidates) -> Iterable[Past]:
        history = candidates.user.history
        for item, time, kind in zip(
            history.items[:SHOWN_ACTIONS], history.times[:SHOWN_ACTIONS], history.types[:SHOWN_ACTIONS], strict=True
        ):
            yield Past(
                sku_id=self._sku_ids[item],
                about=self._about(int(item)),
                when=self._when(int(time)),
                kind=self._types[kind],
            )

    def _when(self, time: int) -> str:
        if not time:
            return UNKNOWN
        unit = "D" if self._spec.granularity == DAY_MS else "m"
        return str(np.datetime64(time, "ms").astype(f"datetime64[{unit}]")).replace("T", " ")

    def _shown(
        self, candidates: Candidates, judged: Judged, scores: Floats, items: Ints, calibration: Calibration | None
    ) -> Iterable[Shown]:
        place = {item: position for position, item in enumerate(candidates.merged.items.tolist())}
        parts = judged.wide.parts(candidates.dense)
        parts -= parts.mean(0)
        for item in items.tolist():
            row = place[item]
            chance = probability(scores[row], calibration.slope, calibration.intercept) if calibration else 0.0
            yield Shown(
                sku_id=self._sku_ids[item],
                about=self._about(item),
                probability=float(chance),
                channels=tuple(name for name, (places, _) in candidates.merged.channels.items() if row in places),
                reasons=self._reasons(parts[row]),
                wanted=item in candidates.wanted,
            )

    def _reasons(self, parts: Floats) -> dict[str, float]:
        strongest = np.argsort(-parts, kind="stable")[:SHOWN_REASONS].tolist()
        return {self._spec.dense[k]: round(float(parts[k]), 3) for k in strongest if parts[k] > MIN_REASON}

    def _about(self, item: int) -> str:
        row = self._items.row(item, named=True)
        return ", ".join(f"{name} {value}" for name, value in row.items() if name != "sku_id" and value is not None)


def _chosen(chain: Sequence[Ints], found: Sequence[Candidates]) -> list[tuple[str, int]]:
    """Return titles and numbers of the examples.

    The first is the user at the 95th percentile of ndcg@10, the second the middle one of the users whose first hit is
    after place 10, and the third the middle one of the users without hits.
    """
    values = per_user((items, candidates.wanted) for items, candidates in zip(chain, found, strict=True))
    order = np.argsort(values[:, 2], kind="stable")
    late = np.flatnonzero((values[:, 2] == 0) & (values[:, 1] > 0))
    missed = np.flatnonzero(values[:, 1] == 0)
    chosen = [("a good list, better than that of 95 % of the users", int(order[int(0.95 * (len(order) - 1))]))]
    for title, group in (("hits, but none among the first ten items", late), ("no hits", missed)):
        if len(group):
            chosen.append((title, int(group[len(group) // 2])))
    return chosen
