"""Chooses how the wide part of each segment is fitted."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from jobs.train.data.rows import Rows, joined, subset
from jobs.train.data.windows import Window
from jobs.train.models import wide
from jobs.train.models.wide import Wide
from jobs.train.selection import choices
from jobs.train.selection.budget import Budget
from jobs.train.selection.choices import Setting
from jobs.train.selection.judge import Judge
from jobs.train.selection.objective import OBJECTIVE, objective
from jobs.train.selection.trials import Trial, by_cutoff
from recmesh.evaluation import Decision
from recmesh.features import FeatureSpec, Segment
from recmesh.features.ranker_inputs import forms, never_negative
from recmesh.features.spec import Array, Mask

REFIT_LISTS = 1200
"""Lists to which the report's refits are fitted: enough to show what a group of inputs adds."""

_VOTE_FORMS = ("logarithms and relative", "logarithms", "relative")
"""Names of the results of `recmesh.features.ranker_inputs.forms`."""


@dataclass(frozen=True)
class Form:
    """How a wide part is fitted, the wide part of each trial, and why this was chosen."""

    setting: Setting
    wides: Sequence[Wide]
    decisions: Sequence[Decision]


_Tried = Mapping[str, tuple[Form, float]]
"""By option: the form, and its objective over all trials."""


def best_form(spec: FeatureSpec, trials: Sequence[Trial], segment: Segment) -> Form:
    """Choose the inputs and then the penalty with the highest objective over the trials; the first without lists."""
    fits = [wide.Fit(trial.rows[segment], never_negative(spec)) for trial in trials]

    def evaluated(setting: Setting) -> tuple[Form, float]:
        wides = [setting.fitted(fit) for fit in fits]
        figures = _figures(trials, segment, wides)
        value = float(np.mean([objective(at_cutoff).mean() for at_cutoff in figures])) if figures else 0.0
        return Form(setting, wides, []), value

    inputs = {name: evaluated(Setting(used)) for name, used in zip(_VOTE_FORMS, forms(spec), strict=True)}
    votes = _best(inputs)
    usual, other = wide.PARAMETERS.penalties
    penalties = {
        f"{usual:g}": inputs[votes],
        f"{other:g}": evaluated(replace(inputs[votes][0].setting, penalty=other)),
    }
    penalty = _best(penalties)
    decisions = [
        _decision("votes of the history", votes, inputs),
        _decision("penalty on the weights of the wide part", penalty, penalties),
    ]
    return replace(penalties[penalty][0], decisions=decisions)


def improved(spec: FeatureSpec, trials: Sequence[Trial], segment: Segment, form: Form, budget: Budget) -> Form:
    """Return the form with all choices that improve the lists of the trials, as far as the budget allows."""
    if not any(trial.lists.get(segment) for trial in trials):
        return form

    def fitted(setting: Setting) -> list[Wide]:
        parts = [trial.nearer(segment) if setting.near else trial.rows[segment] for trial in trials]
        return [setting.fitted(wide.Fit(rows, never_negative(spec))) for rows in parts]

    def figures(setting: Setting) -> list[Array]:
        return _figures(trials, segment, fitted(setting))

    setting, decisions = choices.improved(form.setting, choices.choices(spec), figures, budget)
    wides = form.wides if setting is form.setting else fitted(setting)
    return Form(setting, wides, [*form.decisions, *decisions])


def final_wide(spec: FeatureSpec, setting: Setting, windows: Sequence[tuple[Window, Rows]]) -> Wide:
    """Fit the wide part of the release to all windows."""
    rows = [rows for _, rows in windows]
    return setting.fitted(wide.Fit(joined(rows[len(rows) // 2 :] if setting.near else rows), never_negative(spec)))


def refit(spec: FeatureSpec, rows: Rows, setting: Setting) -> Callable[[Mask], Wide]:
    """Return a function that fits the wide part of some inputs (bool [D]) to a part of the rows."""
    fit = wide.Fit(subset(rows, REFIT_LISTS), never_negative(spec))
    return lambda used: replace(setting, used=used).fitted(fit)


def _best(tried: _Tried) -> str:
    return max(tried, key=lambda name: tried[name][1])


def _decision(what: str, chosen: str, tried: _Tried) -> Decision:
    values = {name: value for name, (_, value) in tried.items()}
    return Decision(what=what, chosen=chosen, tried=values, rule=f"the highest {OBJECTIVE}")


def _figures(trials: Sequence[Trial], segment: Segment, wides: Sequence[Wide]) -> list[Array]:
    """Return for each cut-off the metrics of each user, float [users, 3], with the wide parts of the trials."""
    found = (trial.lists.get(segment) for trial in trials)
    tried = (Judge(lists, fixed).figures(0.0) if lists else None for lists, fixed in zip(found, wides, strict=True))
    return by_cutoff(trials, tried)
