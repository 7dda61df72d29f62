"""Item-to-item neighbour lists: cosine with shrinkage, and ridge regression on the best cosine candidates (sparse
EASE).

Steck 2019, "Embarrassingly shallow autoencoders for sparse data", solved here for one item at a time on few
candidates, so that cost grows with the number of items and memory stays bounded.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from recmesh.features.spec import Array, Floats, Ints, Longs
from recmesh.features.statistics import Lists

COSINE_LENGTH = 200
RIDGE_LENGTH = 100

_RIDGE_ITEMS = 8192
_ENOUGH = 50
_LEAST_WEIGHT = 1e-4
_ROWS = 4096
_SOLVES = 128
_DENSE = 0.01

_Weights = tuple[Array, Array, Floats]
"""What items speak for: source items, target items, weights."""

_NO_WEIGHTS: _Weights = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))


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
    shrinkage = Shrinkage.of(matrix)
    order = np.argsort(-counts, kind="stable")[:_RIDGE_ITEMS]
    head = np.sort(order[counts[order] > 1])
    parts = [_head_weights(matrix, head, cosine, shrinkage.ridge), _rest_weights(head, counts, cosine, shrinkage)]
    return cosine, _by_source(*_joined(parts), matrix.shape[1])


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


def _head_weights(matrix: sparse.csr_matrix, head: Longs, cosine: Lists, strength: float) -> _Weights:
    """Regress each of the most popular items (`head`, ascending) on its best cosine candidates among them."""
    number = np.full(matrix.shape[1], -1, np.int32)
    number[head] = np.arange(len(head))
    columns = matrix[:, head]
    gram = np.asarray((columns.T @ columns).todense(), np.float32)
    parts = [_NO_WEIGHTS]
    for at in range(0, len(head), _SOLVES):
        targets = np.arange(at, min(at + _SOLVES, len(head)))
        candidates = np.stack([_candidates(cosine, head[target], number) for target in targets])
        there = candidates >= 0
        left = gram[candidates[:, :, None], candidates[:, None, :]] * (there[:, :, None] & there[:, None, :])
        right = gram[candidates, targets[:, None]] * there
        sources, rows, weights = _solve(left, right, candidates, strength)
        parts.append((head[sources], head[targets[rows]], weights))
    return _joined(parts)


def _rest_weights(head: Longs, counts: Floats, cosine: Lists, shrinkage: Shrinkage) -> _Weights:
    """Regress every other item that enough users acted on, on its best cosine candidates among all items.

    How many users two items share is known where one is in the other's cosine list; else they share few, and none is
    assumed. So the cost is that of one small system an item, however many there are.
    """
    targets = np.setdiff1d(np.flatnonzero(counts >= _ENOUGH), head)
    if not len(targets):
        return _NO_WEIGHTS
    together = _together(cosine, counts, shrinkage.cosine)
    every = np.arange(len(counts), dtype=np.int32)
    parts = [_NO_WEIGHTS]
    for at in range(0, len(targets), _SOLVES):
        batch = targets[at : at + _SOLVES]
        candidates = np.stack([_candidates(cosine, target, every) for target in batch])
        left = np.zeros((len(batch), RIDGE_LENGTH, RIDGE_LENGTH), np.float32)
        right = np.zeros((len(batch), RIDGE_LENGTH), np.float32)
        for row, (target, padded) in enumerate(zip(batch, candidates, strict=True)):
            others = padded[padded >= 0]
            count = len(others)
            left[row, :count, :count] = together[others][:, others].toarray()
            right[row, :count] = together[target, others].toarray().ravel()
        sources, rows, weights = _solve(left, right, candidates, shrinkage.ridge)
        parts.append((sources, batch[rows], weights))
    return _joined(parts)


def _together(cosine: Lists, counts: Floats, shrink: float) -> sparse.csr_matrix:
    """The users that pairs of items share, as far as the cosine lists know; on the diagonal the users of each item."""
    items = len(counts)
    source = np.repeat(np.arange(items), np.diff(cosine.start))
    shared = np.rint(cosine.scores * (np.sqrt(counts[source] * counts[cosine.items]) + shrink)).astype(np.float32)
    known = sparse.csr_matrix((shared, cosine.items, cosine.start), (items, items))
    return (known.maximum(known.T) + sparse.diags(counts)).tocsr()


def _candidates(cosine: Lists, item: int, number: Ints) -> Ints:
    """The numbers of the best cosine candidates of an item, those without one (-1) left out; padded with -1."""
    span = slice(cosine.start[item], cosine.start[item + 1])
    others = number[cosine.items[span]]
    others = others[np.argsort(-cosine.scores[span], kind="stable")]
    others = others[others >= 0][:RIDGE_LENGTH]
    return np.concatenate([others, np.full(RIDGE_LENGTH - len(others), -1, np.int32)])


def _joined(parts: Sequence[_Weights]) -> _Weights:
    sources, targets, weights = (np.concatenate(one) for one in zip(*parts, strict=True))
    return sources, targets, weights


def _solve(left: Floats, right: Floats, candidates: Ints, strength: float) -> _Weights:
    """(G_SS + strength I) w = G_Sj for a batch of targets: the candidate, the number of the target in the batch and
    the weight of each that is worth keeping.

    left: G_SS float32 [N, S, S], right: G_Sj float32 [N, S]; zeros where there is no candidate (-1), whose w is 0.
    """
    diagonal = np.arange(candidates.shape[1])
    left[:, diagonal, diagonal] += strength
    weights = np.linalg.solve(left, right[:, :, None])[:, :, 0].astype(np.float32)
    rows, places = np.nonzero((candidates >= 0) & (np.abs(weights) > _LEAST_WEIGHT))
    return candidates[rows, places], rows, weights[rows, places]


def _by_source(sources: Array, targets: Array, scores: Floats, items: int) -> Lists:
    order = np.argsort(sources, kind="stable")
    start = np.zeros(items + 1, np.int64)
    np.cumsum(np.bincount(sources, minlength=items), out=start[1:])
    return Lists(start, targets[order].astype(np.int32), scores[order].astype(np.float32))
