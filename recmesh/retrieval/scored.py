"""Items with scores, best first: what a channel gives."""

from dataclasses import dataclass

import numpy as np

from recmesh import kernels
from recmesh.features.spec import Floats, Ints
from recmesh.features.user import NO_ITEMS
from recmesh.kernels import Scratch

RRF = 60
"""The constant of reciprocal-rank fusion (Cormack, Clarke and Buettcher 2009)."""


@dataclass(frozen=True, slots=True)
class Scored:
    """items int32 [n], distinct; scores float32 [n], descending."""

    items: Ints
    scores: Floats

    @classmethod
    def none(cls) -> "Scored":
        return cls(np.empty(0, np.int32), np.empty(0, np.float32))


def best(
    items: Ints, scores: Floats, depth: int, scratch: Scratch, exclude: Ints = NO_ITEMS, above: float = -np.inf
) -> Scored:
    """See `recmesh.kernels.best`."""
    return Scored(*kernels.best(items, scores, depth, scratch, exclude, above))


def fuse(lists: "list[tuple[float, Scored]]", depth: int, scratch: Scratch) -> Scored:
    """Weighted reciprocal-rank fusion: the `depth` items of the largest sums of weight / (RRF + position)."""
    weights = [weight for weight, _ in lists]
    items, sums = kernels.fuse([scored.items for _, scored in lists], weights, RRF, scratch)
    return best(items, sums, depth, scratch)
