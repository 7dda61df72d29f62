"""Trains the deep part of the ranker, and chooses how much of it each segment uses."""

from collections.abc import Mapping, Sequence

import numpy as np
import paddle

from jobs.train.data.rows import Rows, joined
from jobs.train.models import deepfm
from jobs.train.models.deepfm import PARAMETERS, Buckets, DeepFM
from jobs.train.models.wide import Wide
from jobs.train.selection import choices
from jobs.train.selection.budget import Budget
from jobs.train.selection.judge import Judge
from jobs.train.selection.trials import Trial, by_cutoff
from recmesh.features import SEGMENTS, FeatureSpec, Segment
from recmesh.progress import Reporter

MAX_BUCKETED_ROWS = 100_000
"""About so many rows of a segment suffice to find the quantiles of the inputs."""


def untrained(spec: FeatureSpec, wides: Mapping[Segment, Wide], rows: Mapping[Segment, Rows], seed: int) -> DeepFM:
    """Return a model with the given wide parts and without a deep part."""
    dense = [part.dense[:: len(part.dense) // MAX_BUCKETED_ROWS + 1] for part in rows.values() if len(part.labels)]
    dense = dense or [np.zeros((1, len(spec.dense)), np.float32)]
    return DeepFM(wides, Buckets.of(np.concatenate(dense)), spec.columns, seed)


def train(
    model: DeepFM,
    wides: Mapping[Segment, Wide],
    rows: Mapping[Segment, Rows],
    judges: Mapping[Segment, Judge],
    seed: int,
    reporter: Reporter,
    budget: Budget,
) -> None:
    """Train the residual until an epoch does not improve the lists, and keep its best state.

    The judges are updated with that state.
    """
    every = joined([rows[segment] for segment in SEGMENTS])
    if not len(every.labels) or not judges or not budget.left():
        return
    index = model.index(every.dense, every.sparse)
    fixed = np.concatenate([wides[segment](rows[segment].dense) for segment in SEGMENTS if len(rows[segment].labels)])
    optimizer = deepfm.optimizer_of(model)
    best, state = -np.inf, _copy(model)
    for epoch in range(PARAMETERS.max_epochs):
        with reporter.bar(f"ranker: DeepFM, epoch {epoch + 1}", len(every.weight)) as advance:
            deepfm.train_epoch(model, index, fixed, every, optimizer, seed + epoch, advance)
        _update(judges, model)
        reached = sum(max(judge.objective(share) for share in PARAMETERS.shares) for judge in judges.values())
        if not reached > best:
            break
        best, state = reached, _copy(model)
        if not budget.left():
            break
    model.set_state_dict(state)
    _update(judges, model)


def best_share(trials: Sequence[Trial], judges: Sequence[Judge | None]) -> float:
    """Return the share of the deep part with the highest gain (see `choices.gain`), 0 if none has a gain.

    Args:
        trials: The trials.
        judges: The judge of the segment in each trial, None for a trial without lists.
    """
    if not any(judges):
        return 0.0
    gains = {
        share: choices.gain(by_cutoff(trials, [judge.gain(share) if judge else None for judge in judges]))
        for share in PARAMETERS.shares[1:]
    }
    best = max(gains, key=lambda share: gains[share])
    return best if gains[best] > 0 else 0.0


def _update(judges: Mapping[Segment, Judge], model: DeepFM) -> None:
    for judge in judges.values():
        judge.update(model)


def _copy(model: DeepFM) -> dict[str, paddle.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}
