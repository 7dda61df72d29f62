"""Approximate search by inner product: the form of stored vectors, and the search width.

The inner product is not a distance. A graph index built on it links every item to the longest vectors. The item bias
is the logarithm of a share of actions, so the longest vectors are those of the least popular items: a search measured
this way found 0.004 of the best items instead of 0.999. Therefore each item vector gets another dimension that extends
it to a common length, and each query gets a zero there (Bachrach et al. 2014, "Speeding up the Xbox recommender system
using a Euclidean transformation for inner-product spaces"). Inner products do not change, and among vectors of equal
length they give the same order as the distance.

User vectors still lie outside the distribution of the item vectors. The search width is therefore measured with real
queries.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from recmesh.errors import RecmeshError

Vectors = npt.NDArray[np.float32]
Search = Callable[[Vectors, int, int], list[list[str]]]
"""Takes queries float32 [queries, dim], a limit and a search width `ef`; returns the ids found for each query."""

EF_LADDER = (200, 256, 384, 512, 768, 1_024, 1_536, 2_048)
MIN_RECALL = 0.98
_QUERIES_PER_BLOCK = 32


def longest(vectors: Vectors) -> float:
    """Return the length of the longest of vectors float32 [rows, dim]: the common length in a collection."""
    return float(np.linalg.norm(vectors, axis=1).max(initial=0.0))


def extended(vectors: Vectors, radius: float) -> Vectors:
    """Extend item vectors float32 [rows, dim] by a dimension that gives them the length `radius`.

    Vectors that are longer than `radius` get a zero.
    """
    missing = np.maximum(radius**2 - np.square(vectors, dtype=np.float64).sum(axis=1), 0)
    return np.column_stack([vectors, np.sqrt(missing)]).astype(np.float32)


def extended_queries(queries: Vectors) -> Vectors:
    """Extend queries float32 [rows, dim] by a zero, to match extended item vectors."""
    rows = np.zeros((len(queries), queries.shape[1] + 1), np.float32)
    rows[:, :-1] = queries
    return rows


def smallest_ef(
    search: Search, sku_ids: Sequence[str], vectors: Vectors, queries: Vectors, limit: int = 200
) -> tuple[int | None, dict[int, float]]:
    """Find the smallest search width of `EF_LADDER` whose recall against exact search reaches `MIN_RECALL`.

    Args:
        search: The search to measure.
        sku_ids: The ids of the items.
        vectors: float32 [items, dim], the vectors of the items.
        queries: float32 [queries, dim] of the user tower.
        limit: Measure the recall of this many best items.

    Returns:
        The width, or None if no width is sufficient, and the recall of every width that was tried.
    """
    measured: dict[int, float] = {}
    limit = min(limit, len(sku_ids))
    for ef in EF_LADDER:
        measured[ef] = recall(search(queries, limit, ef), sku_ids, vectors, queries, limit)
        if measured[ef] >= MIN_RECALL:
            return ef, measured
    return None, measured


def recall(
    found: Sequence[Sequence[str]], sku_ids: Sequence[str], vectors: Vectors, queries: Vectors, limit: int
) -> float:
    """Return the mean share of the exact `limit` best items among the found items.

    An item with the same score as the last of the best items counts as found.

    Args:
        found: The ids that were found for each query.
        sku_ids: The ids of the items.
        vectors: float32 [items, dim], the vectors of the items.
        queries: float32 [queries, dim].
        limit: How many best items to find.

    Raises:
        RecmeshError: If there are no queries.
    """
    if not len(queries):
        raise RecmeshError("there are no queries to measure the search")
    position = {sku_id: row for row, sku_id in enumerate(sku_ids)}
    hits = 0
    for start in range(0, len(queries), _QUERIES_PER_BLOCK):
        scores = queries[start : start + _QUERIES_PER_BLOCK] @ vectors.T
        worst = np.partition(scores, -limit, axis=1)[:, -limit]
        for row, ids in enumerate(found[start : start + _QUERIES_PER_BLOCK]):
            given = scores[row, [position[sku_id] for sku_id in ids]]
            hits += int((given >= worst[row] - 1e-5 * abs(worst[row])).sum())
    return hits / (limit * len(queries))
