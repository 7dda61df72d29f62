"""What the first ten places show: how much of the catalogue, how well known it is, how concentrated."""

from collections.abc import Iterable, Sequence

import numpy as np

from jobs.train.selection.held_out import Observed
from recmesh.evaluation.report import CHAIN, POPULARITY, Exposure
from recmesh.features.spec import Array, Ints

_PLACES = 10


def exposures(chain: Sequence[Ints], observed: Observed) -> list[Exposure]:
    """Of the chain, of popularity, and of what the users really did."""
    lists: dict[str, Iterable[Ints]] = {
        CHAIN: (items[:_PLACES] for items in chain),
        POPULARITY: (items[:_PLACES] for items in observed.others[POPULARITY]),
        "what users did": (one.wanted for one in observed.found),
    }
    return [_exposure(name, np.concatenate(list(one)), observed) for name, one in lists.items()]


def _exposure(name: str, shown: Ints, observed: Observed) -> Exposure:
    counts = np.bincount(shown, minlength=len(observed.information))
    return Exposure(
        name=name,
        coverage=float((counts > 0).mean()),
        novelty=float(observed.information[shown].mean()) if len(shown) else 0.0,
        gini=gini(counts),
        head=float(observed.head[shown].mean()) if len(shown) else 0.0,
    )


def gini(counts: Array) -> float:
    """0: all the same, towards 1: all of it in one. 0 where there is nothing."""
    ordered = np.sort(counts.astype(np.float64))
    total, size = ordered.sum(), len(ordered)
    if not total:
        return 0.0
    return float((2 * np.arange(1, size + 1) - size - 1) @ ordered / (size * total))
