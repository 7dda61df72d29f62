"""The gain of each group of the ranker's inputs: the wide part is fitted with all groups, and without each of them."""

from collections.abc import Sequence

import numpy as np

from jobs.train.data.rows import ranked
from jobs.train.models.wide import Wide
from jobs.train.report.figures import figures, values_of
from jobs.train.selection.held_out import Judged, Observed
from recmesh.evaluation.metrics import Array
from recmesh.evaluation.report import FeatureGroup
from recmesh.features import FeatureSpec
from recmesh.features.spec import Mask

_NEIGHBOUR_INPUTS = ("ridge", "cosine", "recent_", "relative_")
_OTHER = "other"


def group_of(name: str, item_fields: Sequence[str]) -> str:
    """Return the group of an input of the ranker, given its name."""
    if name.startswith("popularity_"):
        return "popularity"
    if name.startswith("lift_"):
        return "profile: lift of the item among similar users"
    if name.endswith("_profile"):
        return "profile: lift of the item's fields among similar users"
    if name.startswith(_NEIGHBOUR_INPUTS):
        return "item neighbours of the history"
    if name == "tower":
        return "two-tower score"
    if name == "owned" or name.startswith("own_"):
        return "the user's own items"
    if name in ("repeat_rate", "age"):
        return "item: repeat rate, age"
    if any(name.startswith(f"{field}_") for field in item_fields):
        return "item fields of the history"
    return _OTHER


def ablation(spec: FeatureSpec, judged: Judged, observed: Observed) -> list[FeatureGroup]:
    """Return the gain of each group in use: the mean difference, over users, between fits with and without it.

    The candidates stay the same, so the effect of a group on its channel does not count.
    """
    fields = [field.name for field in spec.item_fields]
    groups = np.array([group_of(name, fields) for name in spec.dense])
    used = judged.used & (judged.wide.weights != 0)
    names = [name for name in dict.fromkeys(groups[used].tolist()) if name != _OTHER]
    if not names:
        return []
    full = _values(judged.refit(judged.used), observed)
    return [
        FeatureGroup(
            name=name,
            inputs=int((used & (groups == name)).sum()),
            gain=figures(full - _values(_without(judged, groups == name), observed)),
        )
        for name in names
    ]


def _without(judged: Judged, group: Mask) -> Wide:
    return judged.refit(judged.used & ~group)


def _values(wide: Wide, observed: Observed) -> Array:
    return values_of(ranked(observed.found, (wide(candidates.dense) for candidates in observed.found)), observed.found)
