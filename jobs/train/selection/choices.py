"""Ways to fit the wide part that may suit a data set better than the usual one: tried in order while the budget lasts.

Each is kept where the lists of both moments that fits are judged by are better for it beyond noise, and then the next
is tried on top of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from jobs.train.models.wide import LISTWISE, PENALTIES, POINTWISE, Fit, Loss, Wide
from jobs.train.selection.budget import Budget
from jobs.train.selection.objective import WORTH, clear, worth
from recmesh.evaluation import Decision
from recmesh.features import FeatureSpec
from recmesh.features.spec import Array, Mask

_FAST = 15
"""Days of a decay below which a popularity follows the trend of the moment."""


@dataclass(frozen=True)
class Setting:
    """How the wide part of a segment is fitted: with which inputs (bool [D]), penalty and loss, and whether to the half
    of the windows that is nearer to what is asked for."""

    used: Mask
    penalty: float = PENALTIES[0]
    loss: Loss = LISTWISE
    near: bool = False

    def fitted(self, fit: Fit) -> Wide:
        """The wide part so fitted."""
        return fit(self.used, self.penalty, self.loss)


@dataclass(frozen=True)
class Choice:
    """Something that may be done in another way than the usual one."""

    what: str
    usual: str
    other: str
    change: Callable[[Setting], Setting]


def choices(spec: FeatureSpec) -> tuple[Choice, ...]:
    """The choices, most promising first."""
    fast = {f"popularity_{one.name}" for one in spec.popularities if one.days is not None and one.days < _FAST}
    slow = np.array([name not in fast for name in spec.dense])
    found = (
        Choice("loss of the wide part", LISTWISE, POINTWISE, lambda one: replace(one, loss=POINTWISE)),
        Choice("decays of popularity", "all", "slow ones", lambda one: replace(one, used=one.used & slow)),
        Choice("training windows", "all", "the nearer half", lambda one: replace(one, near=True)),
    )
    return tuple(one for one in found if one.what != "decays of popularity" or fast)


def gain(moments: Sequence[Array]) -> float:
    """What is added to the lists of all moments (each float [users, 3]) on average, if that is more than its standard
    error and no figure is lower; else 0. Of several moments no figure may be lower at any, since what is learnt of one
    moment's trend costs at another; of one, none by more than its error."""
    every = worth(np.concatenate(moments))
    if len(moments) > 1:
        held = min(one.mean(0).min() for one in moments) >= 0
    else:
        held = not any(clear(-figure) for figure in moments[0].T)
    return float(every.mean()) if clear(every) and held else 0.0


def improved(
    setting: Setting, offered: Sequence[Choice], figures: Callable[[Setting], Sequence[Array]], budget: Budget
) -> tuple[Setting, list[Decision]]:
    """The setting with all choices that add to the lists, and the decisions. figures: the metrics of each user at each
    moment, float [users, 3], with a setting."""
    decisions: list[Decision] = []
    present: Sequence[Array] | None = None
    for choice in offered:
        if not budget.left():
            rule = "the usual one: the time for what is optional was over"
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
                rule=f"the usual one, unless the other has more {WORTH} at both moments and beyond its error",
            )
        )
        if better:
            setting, present = choice.change(setting), other
    return setting, decisions


def _mean(moments: Sequence[Array]) -> float:
    return float(worth(np.concatenate(moments)).mean())
