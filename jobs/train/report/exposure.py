"""Exposure: coverage, novelty and concentration of the first ten items of the lists."""

from collections.abc import Iterable, Sequence

import numpy as np

from jobs.train.selection.held_out import Observed
from recmesh.evaluation.report import CHAIN, POPULARITY, Exposure
from recmesh.features.spec import Array, Ints

SHOWN_ITEMS = 10


def exposures(chain: Sequence[Ints], observed: Observed) -> list[Exposure]:
    """Return the exposure of the chain, of popularity, and of the items that the users acted on."""
    lists: dict[str, Iterable[Ints]] = {
        CHAIN: (items[:SHOWN_ITEMS] for items in chain),
        POPULARITY: (items[:SHOWN_ITEMS] for items in observed.others[POPULARITY]),
        "users' actions": (candidates.wanted for candidates in observed.found),
    }
    return [_exposure(name, np.concatenate(list(items)), observed) for name, items in lists.items()]


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
    """Return the Gini coefficient: 0 if all counts are equal or 0, and almost 1 if a single count has everything."""
    ordered = np.sort(counts.astype(np.float64))
    total, size = ordered.sum(), len(ordered)
    if not total:
        return 0.0
    return float((2 * np.arange(1, size + 1) - size - 1) @ ordered / (size * total))
