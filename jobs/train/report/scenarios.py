"""Figures of the scenarios: the lists of the release and simpler ones, on the cases of the held-out window."""

from collections.abc import Sequence

import numpy as np

from jobs.train.selection.scenarios import Measured
from recmesh.evaluation.metrics import Array, bootstrap_interval, names, per_user
from recmesh.evaluation.report import Gain, ScenarioReport, ScenarioSystem
from recmesh.features.spec import Ints

CUTOFFS = (10, 20)
METRICS = (*names(CUTOFFS), *(f"hit_rate@{cutoff}" for cutoff in CUTOFFS))

_DIGITS = 5
_CHOSEN = "served"
_SIGNALS = {
    "related": "what a user acts on next after an item, within {}",
    "basket": "the other half of {}, from a random half",
    "repeat": "the items of a history that the user acts on again",
}
_GROUPS = {"visit": "a visit", "day": "a day", "history": "the history", "": ""}


def scenario_report(name: str, measured: Measured) -> ScenarioReport:
    """Compare the lists of a scenario with those of simpler ways."""
    ours = _values(measured.lists, measured.wanted)
    others = {other: _values(found, measured.wanted) for other, found in measured.others.items()}
    systems = [ScenarioSystem(name=_CHOSEN, figures=_means(ours))]
    systems += [
        ScenarioSystem(name=other, figures=_means(values), gain=_gains(ours - values))
        for other, values in others.items()
    ]
    return ScenarioReport(
        window=measured.window,
        cases=len(measured.wanted),
        signal=_SIGNALS[name].format(_GROUPS[measured.groups]),
        systems=tuple(systems),
        decisions=tuple(measured.decisions),
        replaced=measured.worse,
    )


def _values(lists: Sequence[Ints], wanted: Sequence[Ints]) -> Array:
    """Return the metrics of each case, float [cases, metrics]."""
    shares = per_user(zip(lists, wanted, strict=True), CUTOFFS)
    return np.column_stack([shares, shares[:, : len(CUTOFFS)] > 0])


def _means(values: Array) -> dict[str, float]:
    return {name: round(float(mean), _DIGITS) for name, mean in zip(METRICS, values.mean(0), strict=True)}


def _gains(differences: Array) -> dict[str, Gain]:
    gains = {}
    for name, column in zip(METRICS, differences.T, strict=True):
        mean, low, high = (round(float(value), _DIGITS) for value in (column.mean(), *bootstrap_interval(column)))
        gains[name] = Gain(mean=mean, low=low, high=high)
    return gains
