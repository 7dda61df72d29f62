"""Fits the ranker on the training windows, decides on the held-out one, and refits the wide part on all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import paddle

from jobs.train import deepfm, wide
from jobs.train.deepfm import Buckets, DeepFM
from jobs.train.evaluate import means, metrics, per_user, worth
from jobs.train.progress import Reporter
from jobs.train.rows import Candidates, Rows, joined
from jobs.train.wide import Wide
from recmesh.features import SEGMENTS, FeatureSpec, Segment
from recmesh.features.ranker_inputs import forms, never_negative
from recmesh.features.spec import Array, Mask
from recmesh.releases import SegmentMetrics

ALPHAS = (0.0, 0.25, 0.5, 1.0)
"""Shares of the deep part that are tried on the held-out window."""

_EPOCHS = 5
_PATIENCE = 2
_BATCH = 8192


@dataclass
class Lists:
    """Lists of the ranker by segment: rows of the training windows, and rows and whole lists of the held-out one.

    `popularity`: held-out metrics of plain popularity.
    """

    training: dict[Segment, list[Rows]] = field(default_factory=lambda: {segment: [] for segment in SEGMENTS})
    held_out: dict[Segment, list[Rows]] = field(default_factory=lambda: {segment: [] for segment in SEGMENTS})
    tested: dict[Segment, list[Candidates]] = field(default_factory=lambda: {segment: [] for segment in SEGMENTS})
    popularity: dict[Segment, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Ranking:
    """A fitted ranker. `spec`: with the decisions that serving needs to know. `metrics`: held out, of the whole chain.

    `weights`: of the wide part, by segment and input, for inputs of standard deviation 1. `alphas`: shares of the
    deep part.
    """

    model: DeepFM
    spec: FeatureSpec
    metrics: dict[str, SegmentMetrics]
    weights: dict[Segment, dict[str, float]]
    alphas: dict[Segment, float]


def fit(spec: FeatureSpec, lists: Lists, seed: int, reporter: Reporter) -> Ranking:
    """Fit the ranker of all segments."""
    bounded = never_negative(spec)
    rows = {segment: joined(lists.training[segment]) for segment in SEGMENTS}
    with reporter.step("ranker: wide part"):
        chosen = {segment: _best_form(spec, rows[segment], lists.tested[segment]) for segment in SEGMENTS}
    wides = {segment: fitted for segment, (_, fitted) in chosen.items()}
    model = _untrained(spec, wides, rows, seed)
    judges = {segment: _Judge(lists.tested[segment], wides[segment]) for segment in SEGMENTS if lists.tested[segment]}
    alphas = _train(model, wides, rows, judges, seed, reporter)
    results: dict[str, SegmentMetrics] = {}
    rankers: dict[Segment, bool] = dict.fromkeys(SEGMENTS, True)
    for segment, judge in judges.items():
        ranked, merged = judge.figures(alphas[segment]), judge.merged()
        rankers[segment] = bool(worth(ranked).mean() >= worth(merged).mean())
        results[segment] = SegmentMetrics(
            users=len(judge.tested),
            chain=means(ranked if rankers[segment] else merged),
            popularity=lists.popularity[segment],
            channels=judge.channels() | {"merged": means(merged)},
        )
    with reporter.step("ranker: wide part, all windows"):
        every = {segment: joined([*lists.training[segment], *lists.held_out[segment]]) for segment in SEGMENTS}
        final = {segment: wide.fit(every[segment], bounded, used) for segment, (used, _) in chosen.items()}
        model.set_wide(final, alphas)
    weights = {
        segment: {name: round(float(w), 4) for name, w in zip(spec.dense, one.weights, strict=True) if w}
        for segment, one in final.items()
    }
    neutral = _mean_logit(spec, rows)
    return Ranking(
        model, spec.model_copy(update={"rankers": rankers, "neutral_logit": neutral}), results, weights, alphas
    )


def _best_form(spec: FeatureSpec, rows: Rows, tested: Sequence[Candidates]) -> tuple[Mask, Wide]:
    """The choice of inputs whose wide part does best on the held-out lists; the first where there are none."""
    fitted = [(used, wide.fit(rows, never_negative(spec), used)) for used in forms(spec)]
    if not tested:
        return fitted[0]
    return max(fitted, key=lambda form: _Judge(tested, form[1]).worth(0.0))


class _Judge:
    """The held-out lists of one segment, scored with any share of the deep part."""

    def __init__(self, tested: Sequence[Candidates], fixed: Wide) -> None:
        self.tested = tested
        self._ends = np.cumsum([len(one.dense) for one in tested])[:-1]
        self._wide = np.concatenate([fixed(one.dense) for one in tested])
        self._deep = np.zeros_like(self._wide)

    def look(self, model: DeepFM) -> None:
        """Take the residual of the model as it is now."""
        dense = np.concatenate([one.dense for one in self.tested])
        sparse = np.concatenate([one.sparse for one in self.tested])
        parts = []
        with paddle.no_grad():
            for at in range(0, len(dense), _BATCH):
                index = model.index(dense[at : at + _BATCH], sparse[at : at + _BATCH])
                parts.append(model.residual(paddle.to_tensor(index)).numpy())
        self._deep = np.concatenate(parts)

    def figures(self, alpha: float) -> Array:
        """Metrics of each user."""
        scores = np.split(self._wide + alpha * self._deep, self._ends)
        orders = (np.argsort(-one, kind="stable") for one in scores)
        return per_user((one.merged.items[order], one.wanted) for one, order in zip(self.tested, orders, strict=True))

    def worth(self, alpha: float) -> float:
        """What the segment's list is worth with this share of the deep part."""
        return float(worth(self.figures(alpha)).mean())

    def best_alpha(self) -> float:
        """The best share, where it wins by more than its standard error; else none of the deep part."""
        without = worth(self.figures(0.0))
        gains = {alpha: worth(self.figures(alpha)) - without for alpha in ALPHAS}
        best = max(gains, key=lambda alpha: (gains[alpha].mean(), -alpha))
        error = gains[best].std() / np.sqrt(len(without))
        return best if gains[best].mean() > error else 0.0

    def merged(self) -> Array:
        """Metrics of each user of the merged order."""
        return per_user((one.merged.items, one.wanted) for one in self.tested)

    def channels(self) -> dict[str, dict[str, float]]:
        names = dict.fromkeys(name for one in self.tested for name in one.channels)
        return {name: metrics((one.channels[name].items, one.wanted) for one in self.tested) for name in names}


def _untrained(spec: FeatureSpec, wides: Mapping[Segment, Wide], rows: Mapping[Segment, Rows], seed: int) -> DeepFM:
    dense = [one.dense for one in rows.values() if len(one.labels)] or [np.zeros((1, len(spec.dense)), np.float32)]
    return DeepFM(wides, Buckets.of(np.concatenate(dense)), spec.columns, seed)


def _train(
    model: DeepFM,
    wides: Mapping[Segment, Wide],
    rows: Mapping[Segment, Rows],
    judges: Mapping[Segment, _Judge],
    seed: int,
    reporter: Reporter,
) -> dict[Segment, float]:
    """Train the residual until two epochs help no segment. Returns each segment's share of it, chosen on the held-out
    lists."""
    every = joined([rows[segment] for segment in SEGMENTS])
    alphas: dict[Segment, float] = dict.fromkeys(SEGMENTS, 0.0)
    if not len(every.labels) or not judges:
        return alphas
    index = model.index(every.dense, every.sparse)
    fixed = np.concatenate([wides[segment](rows[segment].dense) for segment in SEGMENTS if len(rows[segment].labels)])
    optimizer = deepfm.optimizer_of(model)
    best = sum(judge.worth(0.0) for judge in judges.values())
    state, last = _copy(model), -1
    for epoch in range(_EPOCHS):
        with reporter.bar(f"ranker: DeepFM, epoch {epoch + 1}", len(every.weight)) as advance:
            deepfm.train_epoch(model, index, fixed, every, optimizer, seed + epoch, advance)
        for judge in judges.values():
            judge.look(model)
        chosen = {segment: judge.best_alpha() for segment, judge in judges.items()}
        reached = sum(judge.worth(chosen[segment]) for segment, judge in judges.items())
        if reached > best:
            best, alphas, state, last = reached, alphas | chosen, _copy(model), epoch
        elif epoch - last >= _PATIENCE:
            break
    model.set_state_dict(state)
    for judge in judges.values():
        judge.look(model)
    model.set_alpha(alphas)
    reporter.say("ranker: share of the deep part: " + ", ".join(f"{name} {alpha:g}" for name, alpha in alphas.items()))
    return alphas


def _copy(model: DeepFM) -> dict[str, paddle.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def _mean_logit(spec: FeatureSpec, rows: Mapping[Segment, Rows]) -> float:
    column = spec.dense.index("tower")
    logits = [one.dense[:, column] for one in rows.values() if len(one.labels)]
    return float(np.concatenate(logits).mean()) if logits else 0.0
