"""Fits the ranker: options are evaluated on trials, and the wide part is then refitted on all windows."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from jobs.train.data.rows import Rows
from jobs.train.data.windows import Window
from jobs.train.models import debiased_score
from jobs.train.models.debiased_score import Pairs, Squares
from jobs.train.models.deepfm import DeepFM
from jobs.train.models.wide import Wide
from jobs.train.selection import deep, forms, orders
from jobs.train.selection.budget import Budget
from jobs.train.selection.forms import Form
from jobs.train.selection.held_out import Judged
from jobs.train.selection.judge import MIN_LISTS, Judge
from jobs.train.selection.orders import MERGE, POPULARITY, POPULARITY_INPUT, RANKER
from jobs.train.selection.trials import Lists, Trial
from recmesh.evaluation import errors, means
from recmesh.features import SEGMENTS, FeatureSpec, Segment
from recmesh.progress import Reporter
from recmesh.releases import SegmentMetrics

T = TypeVar("T")

_Judges = Sequence[Mapping[Segment, Judge]]
"""For each trial the judges of the segments with lists."""


@dataclass(frozen=True)
class Ranking:
    """A fitted ranker.

    Attributes:
        model: The ranker.
        spec: The feature spec with the decisions that serving needs.
        metrics: Held-out metrics of the chain, by segment.
        weights: Weights of the wide part by segment and input, for inputs with standard deviation 1.
        shares: Share of the deep part, by segment.
        judged: What the ranker made of the held-out lists, by segment.
        debiased_auc: AUC of the debiased score on the held-out pairs, fitted to the earlier ones, by segment.
    """

    model: DeepFM
    spec: FeatureSpec
    metrics: dict[str, SegmentMetrics]
    weights: dict[Segment, dict[str, float]]
    shares: dict[Segment, float]
    judged: dict[Segment, Judged]
    debiased_auc: dict[Segment, float]


def fit(spec: FeatureSpec, lists: Lists, seed: int, reporter: Reporter, budget: Budget) -> Ranking:
    """Fit the ranker of all segments.

    Options must do well at two cut-offs, because what fits the trend of one window fails in another.

    Args:
        spec: The feature spec.
        lists: Rows and lists of all windows.
        seed: Random seed.
        reporter: Shows the progress.
        budget: The time limit for optional steps.
    """
    trials = Trial.all_of(lists)
    rows, *_ = [trial.rows for trial in trials]  # joins the rows of all trials before threads need them
    chosen = _forms(spec, trials, reporter, budget)
    judges = [_judges(trial, chosen, number) for number, trial in enumerate(trials)]
    model = _trained(spec, lists, trials, judges, chosen, seed, reporter, budget)
    shares = {segment: deep.best_share(trials, [found.get(segment) for found in judges]) for segment in SEGMENTS}
    shown = ", ".join(f"{name} {share:g}" for name, share in shares.items())
    reporter.say(f"ranker: share of the deep part: {shown}")
    results: dict[str, SegmentMetrics] = {}
    judged: dict[Segment, Judged] = {}
    served = {segment: RANKER if len(rows[segment].labels) else MERGE for segment in SEGMENTS}
    for segment in judges[0]:
        results[segment], judged[segment], served[segment] = _evaluated(
            spec, lists, segment, rows[segment], chosen[segment], judges, shares[segment]
        )
    with reporter.step("ranker: wide part, all windows"):
        wides = _final_wides(spec, lists, chosen, served)
        shares |= {segment: 0.0 for segment, order in served.items() if order == POPULARITY}
        model.set_wide(wides, shares)
    with reporter.step("ranker: debiased score"):
        areas = _fit_debiased_score(model, lists.pairs)
    spec = orders.with_orders(spec, served).model_copy(update={"neutral_logit": _mean_logit(spec, rows)})
    return Ranking(model, spec, results, _named_weights(spec, wides), shares, judged, areas)


def _forms(spec: FeatureSpec, trials: Sequence[Trial], reporter: Reporter, budget: Budget) -> dict[Segment, Form]:
    with reporter.step("ranker: wide part"):
        chosen = _of_each(lambda segment: forms.best_form(spec, trials, segment))
    if budget.limited:
        with reporter.step("ranker: alternatives for the wide part"):
            chosen = {segment: forms.improved(spec, trials, segment, form, budget) for segment, form in chosen.items()}
    return chosen


def _judges(trial: Trial, chosen: Mapping[Segment, Form], number: int) -> dict[Segment, Judge]:
    """Return judges of the wide parts that were fitted in trial `number`."""
    return {
        segment: Judge(trial.lists[segment], form.wides[number])
        for segment, form in chosen.items()
        if trial.lists.get(segment)
    }


def _trained(
    spec: FeatureSpec,
    lists: Lists,
    trials: Sequence[Trial],
    judges: _Judges,
    chosen: Mapping[Segment, Form],
    seed: int,
    reporter: Reporter,
    budget: Budget,
) -> DeepFM:
    """Train the deep part in each trial, and return the model of the first one, which is released."""
    enough = sum(map(len, lists.tested.values())) >= MIN_LISTS
    for number in reversed(range(len(trials))):
        wides = {segment: form.wides[number] for segment, form in chosen.items()}
        model = deep.untrained(spec, wides, trials[number].rows, seed)
        if enough:
            deep.train(model, wides, trials[number].rows, judges[number], seed, reporter, budget)
    return model


def _evaluated(
    spec: FeatureSpec,
    lists: Lists,
    segment: Segment,
    rows: Rows,
    form: Form,
    judges: _Judges,
    share: float,
) -> tuple[SegmentMetrics, Judged, str]:
    """Choose the order of a segment. Returns its held-out metrics, what the report needs, and the order."""
    figures = [found[segment].orders(share) for found in judges if segment in found]
    held_out, judge, order = figures[0], judges[0][segment], orders.decided(figures)
    served = order.chosen if len(rows.labels) else MERGE
    result = SegmentMetrics(
        users=len(judge.tested),
        chain=means(held_out[served]),
        errors=errors(held_out[served]),
        gain_errors=errors(held_out[served] - lists.popularity[segment]),
        popularity=means(lists.popularity[segment]),
        channels=judge.channels() | {"merged": means(held_out[MERGE])},
        window=lists.observed[segment].window.name,
    )
    decisions = [*lists.decisions[segment], *form.decisions, judge.share_decision(share), order]
    refit = forms.refit(spec, rows, form.setting)
    return result, judge.judged(served, share, form.setting.used, refit, decisions), served


def _final_wides(
    spec: FeatureSpec, lists: Lists, chosen: Mapping[Segment, Form], served: Mapping[Segment, str]
) -> dict[Segment, Wide]:
    wides = _of_each(lambda segment: forms.final_wide(spec, chosen[segment].setting, lists.rows[segment]))
    by_popularity = Wide.only(len(spec.dense), POPULARITY_INPUT)
    return wides | {segment: by_popularity for segment, order in served.items() if order == POPULARITY}


def _fit_debiased_score(model: DeepFM, pairs: Mapping[Segment, Sequence[tuple[Window, Pairs]]]) -> dict[Segment, float]:
    """Fit the debiased score of each segment to the pairs of all windows.

    Returns:
        By segment, the AUC on the held-out pairs of a fit to the earlier ones.
    """
    every = {segment: debiased_score.joined([part for _, part in sets]) for segment, sets in pairs.items()}
    before = {
        segment: debiased_score.joined([part for window, part in sets if window.role.usable_before_evaluation])
        for segment, sets in pairs.items()
    }
    squares = Squares.of(debiased_score.joined(list(before.values())).dense, model.wide_mean.shape[1])
    areas: dict[Segment, float] = {}
    for segment, sets in pairs.items():
        held_out = debiased_score.joined([part for window, part in sets if window.held_out])
        if len(held_out.labels):
            head = debiased_score.fit(before[segment], squares)
            areas[segment] = round(debiased_score.auc(head(squares(held_out.dense)), held_out.labels), 4)
    model.set_debiased_score(_of_each(lambda segment: debiased_score.fit(every[segment], squares)), squares)
    return areas


def _of_each(made: Callable[[Segment], T]) -> dict[Segment, T]:
    """Call a function for each segment, two at a time: fits spend their time in libraries that use one core."""
    with ThreadPoolExecutor(2) as threads:
        return dict(zip(SEGMENTS, threads.map(made, SEGMENTS), strict=True))


def _named_weights(spec: FeatureSpec, wides: Mapping[Segment, Wide]) -> dict[Segment, dict[str, float]]:
    return {
        segment: {name: round(float(w), 4) for name, w in zip(spec.dense, wide.weights, strict=True) if w}
        for segment, wide in wides.items()
    }


def _mean_logit(spec: FeatureSpec, rows: Mapping[Segment, Rows]) -> float:
    """Return the mean two-tower score of the training rows, 0 without rows."""
    column = spec.dense.index("tower")
    logits = [part.dense[:, column] for part in rows.values() if len(part.labels)]
    return float(np.concatenate(logits).mean()) if logits else 0.0
