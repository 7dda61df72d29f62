"""Evaluates the lists of a trial with any share of the deep part."""

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import paddle

from jobs.train.data.rows import Candidates
from jobs.train.models.deepfm import PARAMETERS, DeepFM
from jobs.train.models.wide import Wide
from jobs.train.selection import orders
from jobs.train.selection.held_out import Judged
from jobs.train.selection.objective import OBJECTIVE, objective
from jobs.train.selection.orders import RANKER
from recmesh.evaluation import Decision, metrics, of_hits
from recmesh.features.spec import Array, Floats, Ints, Mask

MIN_LISTS = 200
"""The deep part is not trained with fewer held-out lists than this."""

_BATCH_ROWS = 8192


class Judge:
    """Evaluates the lists of one segment in one trial.

    It is called for every share after every epoch, so whatever stays the same is computed once.

    Attributes:
        tested: The lists.

    Args:
        tested: The lists.
        fixed: The wide part.
    """

    def __init__(self, tested: Sequence[Candidates], fixed: Wide) -> None:
        self.tested = tested
        self._fixed = fixed
        self._ends = np.cumsum([len(candidates.dense) for candidates in tested])[:-1]
        self._wide = np.concatenate([fixed(candidates.dense) for candidates in tested])
        self._deep = np.zeros_like(self._wide)
        self._hits = [candidates.labels for candidates in tested]
        self._index: Ints | None = None

    def update(self, model: DeepFM) -> None:
        """Compute the residuals of the model in its current state."""
        if self._index is None:
            dense = np.concatenate([candidates.dense for candidates in self.tested])
            sparse = np.concatenate([candidates.sparse for candidates in self.tested])
            self._index = model.index(dense, sparse)
        with paddle.no_grad():
            starts = range(0, len(self._index), _BATCH_ROWS)
            batches = (self._index[start : start + _BATCH_ROWS].astype(np.int64) for start in starts)
            self._deep = np.concatenate([model.residual(paddle.to_tensor(batch)).numpy() for batch in batches])

    def figures(self, share: float) -> Array:
        """Return the metrics of each user with a share of the deep part, float [users, 3]."""
        return self._wide_figures if share == 0 else self._figures(share)

    @cached_property
    def _wide_figures(self) -> Array:
        return self._figures(0.0)

    def _figures(self, share: float) -> Array:
        sequences = (np.argsort(-scores, kind="stable") for scores in self._scores(share))
        hits = (hits[sequence] for hits, sequence in zip(self._hits, sequences, strict=True))
        return of_hits(zip(hits, (len(candidates.wanted) for candidates in self.tested), strict=True))

    def objective(self, share: float) -> float:
        """Return the objective with a share of the deep part, as the mean over users."""
        return float(objective(self.figures(share)).mean())

    def gain(self, share: float) -> Array:
        """Return how much a share of the deep part adds to the metrics of each user, float [users, 3]."""
        added: Array = self.figures(share) - self.figures(0.0)
        return added

    def _scores(self, share: float) -> list[Floats]:
        return np.split(self._wide + share * self._deep, self._ends)

    def orders(self, share: float) -> dict[str, Array]:
        """Return the metrics of each user in the ranker's order and in the simpler ones, float [users, 3] each."""
        return {RANKER: self.figures(share), **orders.simpler(self.tested)}

    def judged(
        self, order: str, share: float, used: Mask, refit: Callable[[Mask], Wide], decisions: Sequence[Decision]
    ) -> Judged:
        """Return what the report needs of the order that is served."""
        if order == RANKER:
            scores = self._scores(share)
        else:
            scores = [orders.scores(candidates, order) for candidates in self.tested]
        return Judged(scores, self._fixed, used, refit, decisions)

    def share_decision(self, chosen: float) -> Decision:
        """Return the decision for a share of the deep part, with the figures of the model in its current state."""
        what = "share of the deep part"
        if self._index is None:
            rule = f"not trained: fewer than {MIN_LISTS} held-out lists, or the time for optional steps was over"
            return Decision(what=what, chosen="0", rule=rule)
        tried = {f"{share:g}": self.objective(share) for share in PARAMETERS.shares}
        rule = (
            f"the highest {OBJECTIVE} over all trials, if its gain exceeds its standard error and no metric is lower at"
            " any cut-off (with a single cut-off: lower by more than its standard error); else 0"
        )
        return Decision(what=what, chosen=f"{chosen:g}", tried=tried, rule=rule)

    def channels(self) -> dict[str, dict[str, float]]:
        """Return the metrics of each channel alone, as means over users."""
        names = dict.fromkeys(name for candidates in self.tested for name in candidates.channels)
        return {
            name: metrics((candidates.channels[name].items, candidates.wanted) for candidates in self.tested)
            for name in names
        }
