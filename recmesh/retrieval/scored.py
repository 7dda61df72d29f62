"""Scored items, best first: the result of a channel."""

from dataclasses import dataclass

import numpy as np

from recmesh import kernels
from recmesh.features.spec import Floats, Ints, Mask
from recmesh.features.user import NO_ITEMS
from recmesh.kernels import Scratch

RRF_CONSTANT = 60
"""The constant of reciprocal-rank fusion (Cormack, Clarke and Buettcher 2009)."""


@dataclass(frozen=True, slots=True)
class Scored:
    """Scored items.

    Attributes:
        items: int32 [n], distinct item numbers, best first.
        scores: float32 [n], descending.
    """

    items: Ints
    scores: Floats

    @classmethod
    def none(cls) -> "Scored":
        """Return an empty list."""
        return cls(np.empty(0, np.int32), np.empty(0, np.float32))


def best(
    items: Ints,
    scores: Floats,
    depth: int,
    scratch: Scratch,
    exclude: Ints = NO_ITEMS,
    above: float = -np.inf,
    allowed: Mask | None = None,
) -> Scored:
    """Select the best items; see `recmesh.kernels.best`.

    Args:
        items: int32, distinct.
        scores: float32, one for each item.
        depth: How many items to return at most.
        scratch: Scratch memory.
        exclude: int32, distinct items to leave out.
        above: Only items with a higher score than this are returned.
        allowed: For each item of the catalogue whether a filter lets it pass; None without a filter.
    """
    if allowed is not None:
        kept = allowed[items]
        items, scores = items[kept], scores[kept]
    return Scored(*kernels.best(items, scores, depth, scratch, exclude, above))


def fuse(lists: "list[tuple[float, Scored]]", depth: int, scratch: Scratch) -> Scored:
    """Fuse lists by weighted reciprocal ranks.

    Args:
        lists: Each list with its weight.
        depth: How many items to return at most.
        scratch: Scratch memory.

    Returns:
        The items with the largest sums of weight / (RRF_CONSTANT + position), positions counted from 1.
    """
    weights = [weight for weight, _ in lists]
    items, sums = kernels.fuse([scored.items for _, scored in lists], weights, RRF_CONSTANT, scratch)
    return best(items, sums, depth, scratch)
