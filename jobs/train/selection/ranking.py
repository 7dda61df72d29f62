"""Fits the ranker on the training windows, decides on the held-out one, and refits the wide part on all of them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeVar

import numpy as np
import paddle

from jobs.train.data.rows import Candidates, Rows, joined, some
from jobs.train.data.windows import Window
from jobs.train.models import affinity, deepfm, wide
from jobs.train.models.affinity import Pairs
from jobs.train.models.deepfm import Buckets, DeepFM
from jobs.train.models.wide import Wide
from jobs.train.selection import choices, orders
from jobs.train.selection.budget import Budget
from jobs.train.selection.choices import Setting
from jobs.train.selection.held_out import Judged, Observed
from jobs.train.selection.objective import WORTH, worth
from jobs.train.selection.orders import MERGE, POPULARITY, POPULARITY_INPUT, RANKER
from recmesh.evaluation import Decision, errors, means, metrics, of_hits
from recmesh.features import SEGMENTS, FeatureSpec, Segment
from recmesh.features.ranker_inputs import forms, never_negative
from recmesh.features.spec import Array, Floats, Ints, Mask
from recmesh.progress import Reporter
from recmesh.releases import SegmentMetrics

ALPHAS = (0.0, 0.25, 0.5, 1.0)
"""Shares of the deep part that are tried on the held-out window."""

_EPOCHS = 5
_BATCH = 8192
_BUCKETED = 100_000
_REFITTED = 1200
_LEAST_LISTS = 200
_FORMS = ("logarithms and relative", "logarithms", "relative")


T = TypeVar("T")


def _by_segment() -> dict[Segment, list[T]]:
    return {segment: [] for segment in SEGMENTS}


@dataclass
class Lists:
    """What the windows gave, by segment: rows and, for the affinity, pairs of each in order of time, whole lists of
    the held-out one (`tested`), and some of the early ones and of each of those apart.

    `popularity`: held-out metrics of plain popularity. `observed`: what the report takes down of the held-out window.
    `decisions`: those about the candidates.
    """

    rows: dict[Segment, list[tuple[Window, Rows]]] = field(default_factory=_by_segment)
    tested: dict[Segment, list[Candidates]] = field(default_factory=_by_segment)
    early: dict[Segment, list[Candidates]] = field(default_factory=_by_segment)
    apart: dict[Segment, list[tuple[Window, list[Candidates]]]] = field(default_factory=_by_segment)
    pairs: dict[Segment, list[tuple[Window, Pairs]]] = field(default_factory=_by_segment)
    popularity: dict[Segment, dict[str, float]] = field(default_factory=dict)
    observed: dict[Segment, Observed] = field(default_factory=dict)
    decisions: dict[Segment, list[Decision]] = field(default_factory=_by_segment)


@dataclass(frozen=True)
class Ranking:
    """A fitted ranker. `spec`: with the decisions that serving needs to know. `metrics`: held out, of the whole chain.

    `weights`: of the wide part, by segment and input, for inputs of standard deviation 1. `alphas`: shares of the
    deep part. `affinity_auc`: of the affinity on the held-out pairs, fitted to those before. `judged`: the
    held-out lists as the ranker made them before it was fitted on them as well.
    """

    model: DeepFM
    spec: FeatureSpec
    metrics: dict[str, SegmentMetrics]
    weights: dict[Segment, dict[str, float]]
    alphas: dict[Segment, float]
    judged: dict[Segment, Judged]
    affinity_auc: dict[Segment, float]


@dataclass(frozen=True)
class _Trial:
    """Rows to fit to, of several windows in order of time, and whole lists of a moment far from theirs to judge the fit
    by, by segment. `later`: whether that moment is the newest, else one before the windows."""

    windows: Mapping[Segment, Sequence[Rows]]
    lists: Mapping[Segment, Sequence[Candidates]]
    later: bool

    @classmethod
    def forward(cls, lists: Lists) -> "_Trial":
        """Fitted to the training windows, judged by the held-out one, which is later."""
        usable = {
            segment: [rows for window, rows in found if not window.held_out and not window.late]
            for segment, found in lists.rows.items()
        }
        return cls(usable, lists.tested, True)

    @classmethod
    def backward(cls, lists: Lists) -> "_Trial":
        """Judged by the early windows, fitted to those that begin when the labels of these have ended."""
        usable: dict[Segment, list[Rows]] = {}
        for segment, found in lists.rows.items():
            end = max((window.end for window, _ in found if window.early), default=0)
            usable[segment] = [rows for window, rows in found if window.as_of >= end and not window.early]
        return cls(usable, lists.early, False)

    @classmethod
    def hiding(cls, lists: Lists, segment: Segment, window: Window, tested: Sequence[Candidates]) -> "_Trial":
        """Judged by a window that hides users of its own, fitted to the others that do so."""
        others = [rows for other, rows in lists.rows[segment] if other is not window]
        return cls({**_by_segment(), segment: others}, {segment: tested}, True)

    @classmethod
    def all_of(cls, lists: Lists) -> "list[_Trial]":
        """That of the release, then the others."""
        apart = [(segment, *one) for segment, found in lists.apart.items() for one in found]
        return [cls.forward(lists), cls.backward(lists), *(cls.hiding(lists, *one) for one in apart)]

    @cached_property
    def rows(self) -> dict[Segment, Rows]:
        """The rows of all windows."""
        return {segment: joined(parts) for segment, parts in self.windows.items()}

    def nearer(self, segment: Segment) -> Rows:
        """The rows of the half of the windows that is nearer to what the fit is judged by."""
        parts = self.windows[segment]
        half = len(parts) // 2
        return joined(parts[half:] if self.later else parts[: len(parts) - half])

    def judges(self, chosen: Mapping[Segment, "_Form"], number: int) -> dict[Segment, "_Judge"]:
        """Judges of the wide part fitted in the trial of that number."""
        judged = {name: one.wides[number] for name, one in chosen.items() if self.lists.get(name)}
        return {name: _Judge(self.lists[name], fixed) for name, fixed in judged.items()}


def fit(spec: FeatureSpec, lists: Lists, seed: int, reporter: Reporter, budget: Budget) -> Ranking:
    """Fit the ranker of all segments. What is chosen must hold at two moments: one window's trend is not another's."""
    trials = _Trial.all_of(lists)
    rows, *_ = [trial.rows for trial in trials]  # joined here, once, before threads ask for them
    with reporter.step("ranker: wide part"):
        chosen = _of_each(lambda segment: _best_form(spec, trials, segment))
    if budget.limited:
        with reporter.step("ranker: other ways to fit it"):
            chosen = {segment: _improved(spec, trials, segment, one, budget) for segment, one in chosen.items()}
    judges = [trial.judges(chosen, number) for number, trial in enumerate(trials)]
    for number in reversed(range(len(trials))):  # the model that stays is that of the release
        wides = {segment: one.wides[number] for segment, one in chosen.items()}
        model = _untrained(spec, wides, trials[number].rows, seed)
        if sum(map(len, lists.tested.values())) >= _LEAST_LISTS:
            _train(model, wides, trials[number].rows, judges[number], seed, reporter, budget)
    alphas = {segment: _best_share(trials, [found.get(segment) for found in judges]) for segment in SEGMENTS}
    reporter.say("ranker: share of the deep part: " + ", ".join(f"{name} {alpha:g}" for name, alpha in alphas.items()))
    results: dict[str, SegmentMetrics] = {}
    judged: dict[Segment, Judged] = {}
    served = {segment: RANKER if len(rows[segment].labels) else MERGE for segment in SEGMENTS}
    for segment, judge in judges[0].items():
        moments = [found[segment].orders(alphas[segment]) for found in judges if segment in found]
        tried, order = moments[0], orders.decided(moments)
        if len(rows[segment].labels):
            served[segment] = order.chosen
        results[segment] = SegmentMetrics(
            users=len(judge.tested),
            chain=means(tried[served[segment]]),
            errors=errors(tried[served[segment]]),
            popularity=lists.popularity[segment],
            channels=judge.channels() | {"merged": means(tried[MERGE])},
            window=lists.observed[segment].window.name,
        )
        form = chosen[segment]
        decisions = [*lists.decisions[segment], *form.decisions, judge.share_decision(alphas[segment]), order]
        refit = _refit(spec, rows[segment], form.setting)
        judged[segment] = judge.judged(served[segment], alphas[segment], form.setting.used, refit, decisions)
    with reporter.step("ranker: wide part, all windows"):
        final = _of_each(lambda segment: _of_all_windows(spec, chosen[segment].setting, lists.rows[segment]))
        for segment in [segment for segment, order in served.items() if order == POPULARITY]:
            final[segment], alphas[segment] = Wide.only(len(spec.dense), POPULARITY_INPUT), 0.0
        model.set_wide(final, alphas)
    with reporter.step("ranker: affinity"):
        areas = _affinity(model, lists.pairs)
    weights = {
        segment: {name: round(float(w), 4) for name, w in zip(spec.dense, one.weights, strict=True) if w}
        for segment, one in final.items()
    }
    neutral = _mean_logit(spec, rows)
    spec = orders.put(spec, served).model_copy(update={"neutral_logit": neutral})
    return Ranking(model, spec, results, weights, alphas, judged, areas)


def _affinity(model: DeepFM, pairs: Mapping[Segment, Sequence[tuple[Window, Pairs]]]) -> dict[Segment, float]:
    """Fit the affinity of each segment to the pairs of all windows. Returns the held-out AUC of a fit to the others."""
    width = model.wide_mean.shape[1]
    areas: dict[Segment, float] = {}
    for segment, sets in pairs.items():
        before = affinity.joined([one for window, one in sets if not window.held_out and not window.late])
        held_out = affinity.joined([one for window, one in sets if window.held_out])
        if len(held_out.labels):
            head = affinity.fit(before, width)
            areas[segment] = round(affinity.auc(head(held_out.dense), held_out.labels), 4)
    every = {segment: affinity.joined([one for _, one in sets]) for segment, sets in pairs.items()}
    model.set_affinity(_of_each(lambda segment: affinity.fit(every[segment], width)))
    return areas


def _of_each(made: Callable[[Segment], T]) -> dict[Segment, T]:
    """What is made for each segment, two at a time: fits spend their time in libraries that use one core."""
    with ThreadPoolExecutor(2) as threads:
        return dict(zip(SEGMENTS, threads.map(made, SEGMENTS), strict=True))


def _of_all_windows(spec: FeatureSpec, setting: Setting, windows: Sequence[tuple[Window, Rows]]) -> Wide:
    rows = [one for _, one in windows]
    return setting.fitted(wide.Fit(joined(rows[len(rows) // 2 :] if setting.near else rows), never_negative(spec)))


@dataclass(frozen=True)
class _Form:
    """A way to fit the wide part, the wide part so fitted in each trial, and why it was chosen."""

    setting: Setting
    wides: Sequence[Wide]
    decisions: Sequence[Decision]


def _best_form(spec: FeatureSpec, trials: Sequence[_Trial], segment: Segment) -> _Form:
    """The choice whose wide part does best over both trials; the first where there are no lists."""
    fits = [wide.Fit(trial.rows[segment], never_negative(spec)) for trial in trials]

    def form(setting: Setting) -> tuple[_Form, float]:
        wides = [setting.fitted(fit) for fit in fits]
        figures = _figures(trials, segment, wides)
        return _Form(setting, wides, []), float(np.mean([worth(one).mean() for one in figures])) if figures else 0.0

    inputs = {name: form(Setting(used)) for name, used in zip(_FORMS, forms(spec), strict=True)}
    votes = _most_worth(inputs)
    usual, other = wide.PENALTIES
    penalties = {f"{usual:g}": inputs[votes], f"{other:g}": form(replace(inputs[votes][0].setting, penalty=other))}
    penalty = _most_worth(penalties)
    decisions = [
        _decision("votes of the history", votes, inputs),
        _decision("penalty on the weights of the wide part", penalty, penalties),
    ]
    return replace(penalties[penalty][0], decisions=decisions)


def _most_worth(tried: Mapping[str, tuple[_Form, float]]) -> str:
    return max(tried, key=lambda name: tried[name][1])


def _decision(what: str, chosen: str, tried: Mapping[str, tuple[_Form, float]]) -> Decision:
    values = {name: value for name, (_, value) in tried.items()}
    return Decision(what=what, chosen=chosen, tried=values, rule=f"the most {WORTH}")


def _figures(trials: Sequence[_Trial], segment: Segment, wides: Sequence[Wide]) -> list[Array]:
    """The metrics of each user, float [users, 3] a moment, by the wide parts of those trials that have lists."""
    found = (trial.lists.get(segment) for trial in trials)
    tried = (_Judge(lists, one).figures(0.0) if lists else None for lists, one in zip(found, wides, strict=True))
    return _by_moment(trials, tried)


def _by_moment(trials: Sequence[_Trial], figures: Iterable[Array | None]) -> list[Array]:
    """The figures of trials (None: without lists) that are judged at the same moment, together."""
    moments: dict[bool, list[Array]] = {}
    for trial, one in zip(trials, figures, strict=True):
        if one is not None:
            moments.setdefault(trial.later, []).append(one)
    return [np.concatenate(one) for one in moments.values()]


def _improved(spec: FeatureSpec, trials: Sequence[_Trial], segment: Segment, form: _Form, budget: Budget) -> _Form:
    """The form with all that makes the lists of all trials better, as far as the budget goes."""
    if not any(trial.lists.get(segment) for trial in trials):
        return form

    def fitted(setting: Setting) -> list[Wide]:
        parts = [trial.nearer(segment) if setting.near else trial.rows[segment] for trial in trials]
        return [setting.fitted(wide.Fit(rows, never_negative(spec))) for rows in parts]

    def figures(setting: Setting) -> list[Array]:
        return _figures(trials, segment, fitted(setting))

    setting, decisions = choices.improved(form.setting, choices.choices(spec), figures, budget)
    wides = form.wides if setting is form.setting else fitted(setting)
    return _Form(setting, wides, [*form.decisions, *decisions])


def _refit(spec: FeatureSpec, rows: Rows, setting: Setting) -> Callable[[Mask], Wide]:
    """Fits the wide part of some inputs to a part of the rows: enough to see what they add."""
    fit = wide.Fit(some(rows, _REFITTED), never_negative(spec))
    return lambda used: replace(setting, used=used).fitted(fit)


def _best_share(trials: Sequence[_Trial], judges: "Sequence[_Judge | None]") -> float:
    """The share of the deep part that adds most; see `choices.gain`. judges: of each trial, None without lists."""
    if not any(judges):
        return 0.0
    gains = {
        alpha: choices.gain(_by_moment(trials, [judge.gain(alpha) if judge else None for judge in judges]))
        for alpha in ALPHAS[1:]
    }
    best = max(gains, key=lambda alpha: gains[alpha])
    return best if gains[best] > 0 else 0.0


class _Judge:
    """The held-out lists of one segment, scored with any share of the deep part of one model.

    It is asked for every share after every epoch: what stays the same is made once.
    """

    def __init__(self, tested: Sequence[Candidates], fixed: Wide) -> None:
        self.tested = tested
        self._fixed = fixed
        self._ends = np.cumsum([len(one.dense) for one in tested])[:-1]
        self._wide = np.concatenate([fixed(one.dense) for one in tested])
        self._deep = np.zeros_like(self._wide)
        self._hits = [one.labels for one in tested]
        self._index: Ints | None = None

    def look(self, model: DeepFM) -> None:
        """Take the residual of the model as it is now."""
        if self._index is None:
            dense, sparse = (
                np.concatenate([getattr(one, part) for one in self.tested]) for part in ("dense", "sparse")
            )
            self._index = model.index(dense, sparse)
        with paddle.no_grad():
            batches = (self._index[at : at + _BATCH].astype(np.int64) for at in range(0, len(self._index), _BATCH))
            self._deep = np.concatenate([model.residual(paddle.to_tensor(batch)).numpy() for batch in batches])

    def figures(self, alpha: float) -> Array:
        """Metrics of each user."""
        return self._without if alpha == 0 else self._figures(alpha)

    @cached_property
    def _without(self) -> Array:
        return self._figures(0.0)

    def _figures(self, alpha: float) -> Array:
        orders = (np.argsort(-scores, kind="stable") for scores in self._scores(alpha))
        places = (hits[order] for hits, order in zip(self._hits, orders, strict=True))
        return of_hits(zip(places, (len(one.wanted) for one in self.tested), strict=True))

    def worth(self, alpha: float) -> float:
        """What the segment's list is worth with this share of the deep part."""
        return float(worth(self.figures(alpha)).mean())

    def gain(self, alpha: float) -> Array:
        """What this share of the deep part adds to each user's recall@10, recall@100 and ndcg@10, float [users, 3]."""
        added: Array = self.figures(alpha) - self.figures(0.0)
        return added

    def _scores(self, alpha: float) -> list[Floats]:
        return np.split(self._wide + alpha * self._deep, self._ends)

    def orders(self, alpha: float) -> dict[str, Array]:
        """Metrics of each user in the ranker's order and in each simpler one."""
        return {RANKER: self.figures(alpha), **orders.simpler(self.tested)}

    def judged(
        self, order: str, alpha: float, used: Mask, refit: Callable[[Mask], Wide], decisions: Sequence[Decision]
    ) -> Judged:
        """What the report needs of the order that is served."""
        scores = self._scores(alpha) if order == RANKER else [orders.scores(one, order) for one in self.tested]
        return Judged(scores, self._fixed, used, refit, decisions)

    def share_decision(self, chosen: float) -> Decision:
        """The decision for a share of the deep part, as the model is now."""
        if self._index is None:
            rule = f"not trained: fewer than {_LEAST_LISTS} held-out lists, or the time for it was over"
            return Decision(what="share of the deep part", chosen="0", rule=rule)
        tried = {f"{alpha:g}": self.worth(alpha) for alpha in ALPHAS}
        held = "no figure is lower (where all trials are of one moment: clearly lower)"
        rule = f"the most {WORTH} in all trials, if more than its error and {held}; else 0"
        return Decision(what="share of the deep part", chosen=f"{chosen:g}", tried=tried, rule=rule)

    def channels(self) -> dict[str, dict[str, float]]:
        names = dict.fromkeys(name for one in self.tested for name in one.channels)
        return {name: metrics((one.channels[name].items, one.wanted) for one in self.tested) for name in names}


def _untrained(spec: FeatureSpec, wides: Mapping[Segment, Wide], rows: Mapping[Segment, Rows], seed: int) -> DeepFM:
    dense = [one.dense[:: len(one.dense) // _BUCKETED + 1] for one in rows.values() if len(one.labels)]
    dense = dense or [np.zeros((1, len(spec.dense)), np.float32)]
    return DeepFM(wides, Buckets.of(np.concatenate(dense)), spec.columns, seed)


def _train(
    model: DeepFM,
    wides: Mapping[Segment, Wide],
    rows: Mapping[Segment, Rows],
    judges: Mapping[Segment, _Judge],
    seed: int,
    reporter: Reporter,
    budget: Budget,
) -> None:
    """Train the residual until an epoch makes no segment's lists better; the judges have then seen its best form."""
    every = joined([rows[segment] for segment in SEGMENTS])
    if not len(every.labels) or not judges or not budget.left():
        return
    index = model.index(every.dense, every.sparse)
    fixed = np.concatenate([wides[segment](rows[segment].dense) for segment in SEGMENTS if len(rows[segment].labels)])
    optimizer = deepfm.optimizer_of(model)
    best, state = -np.inf, _copy(model)
    for epoch in range(_EPOCHS):
        with reporter.bar(f"ranker: DeepFM, epoch {epoch + 1}", len(every.weight)) as advance:
            deepfm.train_epoch(model, index, fixed, every, optimizer, seed + epoch, advance)
        for judge in judges.values():
            judge.look(model)
        reached = sum(max(judge.worth(alpha) for alpha in ALPHAS) for judge in judges.values())
        if not reached > best:
            break
        best, state = reached, _copy(model)
        if not budget.left():
            break
    model.set_state_dict(state)
    for judge in judges.values():
        judge.look(model)


def _copy(model: DeepFM) -> dict[str, paddle.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def _mean_logit(spec: FeatureSpec, rows: Mapping[Segment, Rows]) -> float:
    column = spec.dense.index("tower")
    logits = [one.dense[:, column] for one in rows.values() if len(one.labels)]
    return float(np.concatenate(logits).mean()) if logits else 0.0
