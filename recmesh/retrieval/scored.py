"""Items with scores, best first: what a channel gives."""

from dataclasses import dataclass

import numpy as np

from recmesh.features.spec import Floats, Ints

RRF = 60
"""The constant of reciprocal-rank fusion (Cormack, Clarke and Buettcher 2009)."""


@dataclass(frozen=True)
class Scored:
    """items int32 [n], distinct; scores float32 [n], descending."""

    items: Ints
    scores: Floats

    @classmethod
    def none(cls) -> "Scored":
        return cls(np.empty(0, np.int32), np.empty(0, np.float32))


def best(items: Ints, scores: Floats, depth: int) -> Scored:
    """The `depth` best of distinct items; equal scores in the order of item numbers, so that answers repeat."""
    if len(items) > depth:
        threshold = np.partition(scores, len(scores) - depth)[len(scores) - depth]
        kept = scores >= threshold
        items, scores = items[kept], scores[kept]
    order = np.lexsort((items, -scores))[:depth]
    return Scored(items[order].astype(np.int32), scores[order].astype(np.float32))


def fuse(lists: "list[tuple[float, Scored]]") -> tuple[Ints, Floats, "np.ndarray[tuple[int], np.dtype[np.int64]]"]:
    """Weighted reciprocal-rank fusion: distinct items, their sums of weight / (RRF + position), and for each entry of
    all
    lists in turn the position of its item among these."""
    items = np.concatenate([scored.items for _, scored in lists])
    parts = [weight / (RRF + 1 + np.arange(len(scored.items))) for weight, scored in lists]
    distinct, inverse = np.unique(items, return_inverse=True)
    return distinct, np.bincount(inverse, np.concatenate(parts), len(distinct)).astype(np.float32), inverse
