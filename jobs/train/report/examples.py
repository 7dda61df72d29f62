"""A few real held-out users: what they did, what the chain shows them, and why."""

from collections.abc import Iterable, Sequence

import numpy as np

from jobs.train.data.prepare import Prepared
from jobs.train.data.rows import Candidates
from jobs.train.report.calibration import probability
from jobs.train.selection.held_out import Judged, Observed
from recmesh.dataset import DataSet
from recmesh.evaluation import per_user
from recmesh.evaluation.report import Calibration, Example, Past, Shown
from recmesh.features import FeatureSpec
from recmesh.features.spec import DAY, Floats, Ints

_SHOWN, _PAST, _REASONS = 10, 8, 3
_LEAST_REASON = 0.005


class Examples:
    """Makes the examples of a data set."""

    def __init__(self, dataset: DataSet, data: Prepared, spec: FeatureSpec) -> None:
        self._users, self._items = dataset.users, dataset.items
        self._spec = spec
        self._types = data.spec.action_types
        self._sku_ids = data.catalogue.sku_ids

    def __call__(
        self, chain: Sequence[Ints], judged: Judged, observed: Observed, calibration: Calibration | None
    ) -> list[Example]:
        """Examples of one segment, chosen by rank alone: a good list, one that hits further down, one that misses."""
        return [
            self._example(title, observed.found[k], judged, judged.scores[k], chain[k], calibration)
            for title, k in _chosen(chain, observed.found)
        ]

    def _example(
        self,
        title: str,
        one: Candidates,
        judged: Judged,
        scores: Floats,
        items: Ints,
        calibration: Calibration | None,
    ) -> Example:
        profile = {name: value for name, value in self._users.row(one.row, named=True).items() if value is not None}
        return Example(
            title=title,
            user_id=profile.pop("user_id"),
            profile=profile,
            actions=len(one.user.history.items) + len(one.user.history.older),
            history=tuple(self._history(one)),
            shown=tuple(self._shown(one, judged, scores, items[:_SHOWN], calibration)),
            wanted=len(one.wanted),
            found=int(np.isin(items, one.wanted).sum()),
        )

    def _history(self, one: Candidates) -> Iterable[Past]:
        history = one.user.history
        for item, time, kind in zip(history.items[:_PAST], history.times[:_PAST], history.types[:_PAST], strict=True):
            moment = np.datetime64(int(time), "ms")
            when = str(moment.astype("datetime64[D]" if self._spec.granularity == DAY else "datetime64[m]"))
            yield Past(
                sku_id=self._sku_ids[item],
                about=self._about(int(item)),
                when=when.replace("T", " "),
                kind=self._types[kind],
            )

    def _shown(
        self, one: Candidates, judged: Judged, scores: Floats, items: Ints, calibration: Calibration | None
    ) -> Iterable[Shown]:
        place = {item: position for position, item in enumerate(one.merged.items.tolist())}
        parts = judged.wide.parts(one.dense)
        parts -= parts.mean(0)
        for item in items.tolist():
            row = place[item]
            chance = probability(scores[row], calibration.slope, calibration.intercept) if calibration else 0.0
            yield Shown(
                sku_id=self._sku_ids[item],
                about=self._about(item),
                probability=float(chance),
                channels=tuple(name for name, (places, _) in one.merged.channels.items() if row in places),
                reasons=self._reasons(parts[row]),
                wanted=item in one.wanted,
            )

    def _reasons(self, parts: Floats) -> dict[str, float]:
        strongest = np.argsort(-parts, kind="stable")[:_REASONS].tolist()
        return {self._spec.dense[k]: round(float(parts[k]), 3) for k in strongest if parts[k] > _LEAST_REASON}

    def _about(self, item: int) -> str:
        row = self._items.row(item, named=True)
        return ", ".join(f"{name} {value}" for name, value in row.items() if name != "sku_id" and value is not None)


def _chosen(chain: Sequence[Ints], found: Sequence[Candidates]) -> list[tuple[str, int]]:
    """The user at 95 % of all in the order of ndcg@10, the middle one of those with hits beyond place 10 only, and the
    middle one of those without any."""
    values = per_user((items, one.wanted) for items, one in zip(chain, found, strict=True))
    order = np.argsort(values[:, 2], kind="stable")
    late = np.flatnonzero((values[:, 2] == 0) & (values[:, 1] > 0))
    missed = np.flatnonzero(values[:, 1] == 0)
    chosen = [("a good list, better than those of 95 % of the users", int(order[int(0.95 * (len(order) - 1))]))]
    for title, group in (("hits, but none among the first ten", late), ("no hit at all", missed)):
        if len(group):
            chosen.append((title, int(group[len(group) // 2])))
    return chosen
