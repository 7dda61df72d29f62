"""Item-to-item neighbour lists: cosine with shrinkage, and ridge regression on the best cosine candidates (sparse
EASE).

Steck 2019, "Embarrassingly shallow autoencoders for sparse data", solved here for one item at a time on few
candidates, so that cost grows with the number of items and memory stays bounded.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from recmesh.features.spec import Floats, Ints, Longs
from recmesh.features.statistics import Lists

COSINE_LENGTH = 200
RIDGE_LENGTH = 100

_RIDGE_ITEMS = 8192
_ROWS = 4096
_SOLVES = 128
_DENSE = 0.01


@dataclass(frozen=True)
class Shrinkage:
    """`cosine` is added to the cosine's denominator, `ridge` to the diagonal. Thin data needs more of both."""

    cosine: float
    ridge: float

    @classmethod
    def of(cls, matrix: sparse.csr_matrix) -> "Shrinkage":
        dense = matrix.nnz / max(matrix.shape[0] * matrix.shape[1], 1) > _DENSE
        return cls(10.0, 100.0) if dense else cls(50.0, 500.0)


def neighbour_lists(matrix: sparse.csr_matrix) -> tuple[Lists, Lists]:
    """The cosine and ridge lists from a user-by-item matrix of ones."""
    cosine = cosine_lists(matrix, np.arange(matrix.shape[1]))
    counts = np.asarray(matrix.sum(0)).ravel().astype(np.float32)
    return cosine, _ridge(matrix, counts, cosine, Shrinkage.of(matrix).ridge)


def cosine_lists(matrix: sparse.csr_matrix, sources: Longs) -> Lists:
    """The cosine lists of some items, ascending; those of the others are empty."""
    shrinkage = Shrinkage.of(matrix)
    counts = np.asarray(matrix.sum(0)).ravel().astype(np.float32)
    by_item = matrix.T.tocsr()
    lengths = np.zeros(matrix.shape[1], np.int64)
    targets, scores = [np.empty(0, np.int32)], [np.empty(0, np.float32)]
    for first in range(0, len(sources), _ROWS):
        rows = sources[first : first + _ROWS]
        for item, others, strengths in _best_of_rows((by_item[rows] @ matrix).tocsr(), rows, counts, shrinkage.cosine):
            lengths[item] = len(others)
            targets.append(others)
            scores.append(strengths)
    start = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Lists(start, np.concatenate(targets).astype(np.int32), np.concatenate(scores).astype(np.float32))


def _best_of_rows(
    together: sparse.csr_matrix, items: Longs, counts: Floats, shrink: float
) -> Iterator[tuple[int, Ints, Floats]]:
    """Each item with its best others and their scores; `together` counts the users of both, a row an item."""
    for row, item in enumerate(items.tolist()):
        span = slice(together.indptr[row], together.indptr[row + 1])
        others = together.indices[span]
        scores = (together.data[span] / (np.sqrt(counts[item] * counts[others]) + shrink)).astype(np.float32)
        scores[others == item] = 0
        if len(scores) > COSINE_LENGTH:
            kept = np.argpartition(-scores, COSINE_LENGTH)[:COSINE_LENGTH]
            others, scores = others[kept], scores[kept]
        positive = scores > 0
        yield item, others[positive], scores[positive]


def _ridge(matrix: sparse.csr_matrix, counts: Floats, cosine: Lists, strength: float) -> Lists:
    """Regress each of the most popular items on its best cosine candidates among them; thin items get no weight worth
    solving for."""
    items = matrix.shape[1]
    order = np.argsort(-counts, kind="stable")[:_RIDGE_ITEMS]
    head = np.sort(order[counts[order] > 1])
    number = np.full(items, -1, np.int32)
    number[head] = np.arange(len(head))
    columns = matrix[:, head]
    gram = np.asarray((columns.T @ columns).todense(), np.float32)
    targets, chosen = [], []
    for position, item in enumerate(head):
        span = slice(cosine.start[item], cosine.start[item + 1])
        others = number[cosine.items[span]]
        others = others[np.argsort(-cosine.scores[span], kind="stable")]
        others = others[others >= 0][:RIDGE_LENGTH]
        if len(others):
            targets.append(position)
            chosen.append(np.concatenate([others, np.full(RIDGE_LENGTH - len(others), -1, np.int32)]))
    if not targets:
        return Lists(np.zeros(items + 1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))
    candidates, wanted = np.array(chosen), np.array(targets)
    weights = np.concatenate(
        [
            _solve(gram, candidates[at : at + _SOLVES], wanted[at : at + _SOLVES], strength)
            for at in range(0, len(wanted), _SOLVES)
        ]
    )
    used = (candidates >= 0) & (np.abs(weights) > 1e-4)
    target = np.broadcast_to(head[wanted][:, None], candidates.shape)
    return _by_source(head[candidates[used]], target[used], weights[used], items)


def _solve(gram: Floats, candidates: Ints, wanted: Ints, strength: float) -> Floats:
    """(G_SS + strength I) w = G_Sj for a batch of items; places without a candidate get an equation of their own, w =
    0."""
    there = candidates >= 0
    left = gram[candidates[:, :, None], candidates[:, None, :]] * (there[:, :, None] & there[:, None, :])
    diagonal = np.arange(candidates.shape[1])
    left[:, diagonal, diagonal] += strength
    right = gram[candidates, wanted[:, None]] * there
    return np.linalg.solve(left, right[:, :, None])[:, :, 0].astype(np.float32)


def _by_source(sources: Ints, targets: Ints, scores: Floats, items: int) -> Lists:
    order = np.argsort(sources, kind="stable")
    start = np.zeros(items + 1, np.int64)
    np.cumsum(np.bincount(sources, minlength=items), out=start[1:])
    return Lists(start, targets[order].astype(np.int32), scores[order].astype(np.float32))
