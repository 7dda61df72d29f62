"""Options for fitting the wide part, which a training with a budget tries in order.

An option is kept only if it improves the lists at both evaluation cut-offs by more than one standard error. The next
option is then compared with the result.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from jobs.train.models.wide import LISTWISE, PARAMETERS, POINTWISE, Fit, Loss, Wide
from jobs.train.selection.budget import Budget
from jobs.train.selection.objective import OBJECTIVE, exceeds_standard_error, objective
from recmesh.evaluation import Decision
from recmesh.features import FeatureSpec
from recmesh.features.spec import Array, Mask

FAST_DECAY_DAYS = 15
"""A popularity with a faster decay than this follows short trends."""


@dataclass(frozen=True)
class Setting:
    """How the wide part of a segment is fitted.

    Attributes:
        used: bool [D], the inputs to use.
        penalty: Penalty on the squares of the weights.
        loss: LISTWISE or POINTWISE.
        near: Whether to use only the half of the windows that is nearer to the evaluation.
    """

    used: Mask
    penalty: float = PARAMETERS.penalties[0]
    loss: Loss = LISTWISE
    near: bool = False

    def fitted(self, fit: Fit) -> Wide:
        """Fit the wide part."""
        return fit(self.used, self.penalty, self.loss)


@dataclass(frozen=True)
class Choice:
    """An alternative to a default.

    Attributes:
        what: What is chosen.
        usual: Name of the default.
        other: Name of the alternative.
        change: Makes a setting with the alternative.
    """

    what: str
    usual: str
    other: str
    change: Callable[[Setting], Setting]


def choices(spec: FeatureSpec) -> tuple[Choice, ...]:
    """Return the choices, most promising first."""
    fast = {
        f"popularity_{popularity.name}"
        for popularity in spec.popularities
        if popularity.days is not None and popularity.days < FAST_DECAY_DAYS
    }
    slow = np.array([name not in fast for name in spec.dense])
    decays = Choice("decays of popularity", "all", "slow decays only", lambda s: replace(s, used=s.used & slow))
    return (
        Choice("loss of the wide part", LISTWISE, POINTWISE, lambda s: replace(s, loss=POINTWISE)),
        *([decays] if fast else []),
        Choice("training windows", "all", "the nearer half", lambda s: replace(s, near=True)),
    )


def gain(gains: Sequence[Array]) -> float:
    """Return the mean gain of the objective if it is reliable, else 0.

    The gain must be greater than its standard error. With several cut-offs, no metric may be lower at any of them,
    because a trend of one cut-off costs quality at another. With one cut-off, no metric may be lower by more than its
    standard error.

    Args:
        gains: For each evaluation cut-off the gains of each user, float [users, 3].
    """
    every = objective(np.concatenate(gains))
    if len(gains) > 1:
        held = min(figures.mean(0).min() for figures in gains) >= 0
    else:
        held = not any(exceeds_standard_error(-figure) for figure in gains[0].T)
    return float(every.mean()) if exceeds_standard_error(every) and held else 0.0


def improved(
    setting: Setting, offered: Sequence[Choice], figures: Callable[[Setting], Sequence[Array]], budget: Budget
) -> tuple[Setting, list[Decision]]:
    """Try choices one after the other while the budget lasts.

    Args:
        setting: The setting to start from.
        offered: The choices.
        figures: Evaluates a setting: for each cut-off the metrics of each user, float [users, 3].
        budget: The time limit.

    Returns:
        The setting with all alternatives that improve the lists, and a decision for each choice.
    """
    decisions: list[Decision] = []
    present: Sequence[Array] | None = None
    for choice in offered:
        if not budget.left():
            rule = "the default, because the time for optional steps was over"
            decisions.append(Decision(what=choice.what, chosen=choice.usual, rule=rule))
            continue
        present = figures(setting) if present is None else present
        other = figures(choice.change(setting))
        better = gain([after - before for after, before in zip(other, present, strict=True)]) > 0
        decisions.append(
            Decision(
                what=choice.what,
                chosen=choice.other if better else choice.usual,
                tried={choice.usual: _mean(present), choice.other: _mean(other)},
                rule=(
                    f"the default, unless the alternative has a higher {OBJECTIVE} at both evaluation cut-offs, by more"
                    " than one standard error"
                ),
            )
        )
        if better:
            setting, present = choice.change(setting), other
    return setting, decisions


def _mean(figures: Sequence[Array]) -> float:
    return float(objective(np.concatenate(figures)).mean())
