"""Approximate search by inner product: how vectors are stored for it, and how wide it must be.

Inner product is no distance: a graph built on it links every item to the longest vectors, and where the item bias is
the logarithm of a share, those are the items that nobody wants (measured: .004 of the right answers instead of .999).
So each item vector gets one more dimension that brings it to a common length, and each query a zero there (Bachrach et
al. 2014, "Speeding up the Xbox recommender system using a Euclidean transformation for inner-product spaces"): every
inner product stays what it was, and among items of one length it orders as distance does.

Vectors of a user tower still lie outside the distribution of the item vectors, so that the width of a search is
measured with real queries, never assumed.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from recmesh.errors import RecmeshError

Vectors = npt.NDArray[np.float32]
Search = Callable[[Vectors, int, int], list[list[str]]]
"""Of queries float32 [queries, dim], a limit and a search width `ef`: the ids found for each query."""

LADDER = (200, 256, 384, 512, 768, 1_024, 1_536, 2_048)
ENOUGH = 0.98
_BLOCK = 32


def longest(vectors: Vectors) -> float:
    """The length of the longest of vectors float32 [rows, dim]: the common length of a collection."""
    return float(np.linalg.norm(vectors, axis=1).max(initial=0.0))


def extended(vectors: Vectors, radius: float) -> Vectors:
    """Item vectors float32 [rows, dim] with one more dimension that brings those up to `radius` to this length."""
    missing = np.maximum(radius**2 - np.square(vectors, dtype=np.float64).sum(axis=1), 0)
    return np.column_stack([vectors, np.sqrt(missing)]).astype(np.float32)


def extended_queries(queries: Vectors) -> Vectors:
    """Queries float32 [rows, dim] for extended item vectors."""
    rows = np.zeros((len(queries), queries.shape[1] + 1), np.float32)
    rows[:, :-1] = queries
    return rows


def smallest_ef(
    search: Search, sku_ids: Sequence[str], vectors: Vectors, queries: Vectors, limit: int = 200
) -> tuple[int | None, dict[int, float]]:
    """The smallest width of the ladder whose recall against exact inner product reaches `ENOUGH`; None when none does.

    vectors: float32 [items, dim], row k of sku_ids[k]. queries: float32 [queries, dim] of the user tower. limit: recall
    is measured in the first so many items. Also returns the recall of every width that was tried.
    """
    measured: dict[int, float] = {}
    limit = min(limit, len(sku_ids))
    for ef in LADDER:
        measured[ef] = recall(search(queries, limit, ef), sku_ids, vectors, queries, limit)
        if measured[ef] >= ENOUGH:
            return ef, measured
    return None, measured


def recall(
    found: Sequence[Sequence[str]], sku_ids: Sequence[str], vectors: Vectors, queries: Vectors, limit: int
) -> float:
    """Mean share of the exact `limit` best items that was found; an item as good as the last of them counts as one."""
    if not len(queries):
        raise RecmeshError("no queries to measure the search with")
    position = {sku_id: row for row, sku_id in enumerate(sku_ids)}
    hits = 0
    for start in range(0, len(queries), _BLOCK):
        scores = queries[start : start + _BLOCK] @ vectors.T
        worst = np.partition(scores, -limit, axis=1)[:, -limit]
        for row, ids in enumerate(found[start : start + _BLOCK]):
            given = scores[row, [position[sku_id] for sku_id in ids]]
            hits += int((given >= worst[row] - 1e-5 * abs(worst[row])).sum())
    return hits / (limit * len(queries))
