"""Item-to-item neighbour lists: cosine with shrinkage, and ridge regression on the best cosine candidates.

The regression is a sparse form of EASE (Steck 2019, "Embarrassingly shallow autoencoders for sparse data"). Each item
is regressed on few candidates, so the cost is linear in the number of items and memory is bounded.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from recmesh.features.spec import Array, Floats, Ints, Longs
from recmesh.features.statistics import Lists

_BATCH_ROWS = 4096
"""Items whose cosines are computed at once. It bounds memory and has no influence on the result."""

_BATCH_SYSTEMS = 128
"""Linear systems that are solved at once."""

_Weights = tuple[Array, Array, Floats]
"""Regression weights: source items, target items, weights, all of the same length."""

_NO_WEIGHTS: _Weights = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))


@dataclass(frozen=True)
class Shrinkage:
    """Regularisation of both kinds of lists.

    Attributes:
        cosine: Added to the denominator of the cosine.
        ridge: Added to the diagonal of the regression.
    """

    cosine: float
    ridge: float


@dataclass(frozen=True)
class NeighbourParameters:
    """Hyperparameters of the neighbour lists.

    Attributes:
        cosine_length: Longest cosine list of an item.
        ridge_length: Candidates on which an item is regressed: its best cosine neighbours.
        head_items: The most popular items, which are regressed on each other with exact counts of common users. The
            matrix of these counts takes head_items ** 2 * 4 bytes.
        min_users: Users who must have acted on an item outside the head for it to be regressed.
        min_weight: Regression weights closer to 0 than this are dropped.
        dense_share: A user-by-item matrix with a larger share of ones than this is called dense.
        dense_shrinkage: Regularisation for a dense matrix.
        sparse_shrinkage: Regularisation for other matrices, which needs to be stronger.
    """

    cosine_length: int = 200
    ridge_length: int = 100
    head_items: int = 8192
    min_users: int = 50
    min_weight: float = 1e-4
    dense_share: float = 0.01
    dense_shrinkage: Shrinkage = Shrinkage(cosine=10.0, ridge=100.0)
    sparse_shrinkage: Shrinkage = Shrinkage(cosine=50.0, ridge=500.0)

    def shrinkage(self, matrix: sparse.csr_matrix) -> Shrinkage:
        """Return the regularisation for a user-by-item matrix."""
        share = matrix.nnz / max(matrix.shape[0] * matrix.shape[1], 1)
        return self.dense_shrinkage if share > self.dense_share else self.sparse_shrinkage


PARAMETERS = NeighbourParameters()


def neighbour_lists(matrix: sparse.csr_matrix, parameters: NeighbourParameters = PARAMETERS) -> tuple[Lists, Lists]:
    """Compute the cosine lists and the ridge lists.

    Args:
        matrix: [users, items] of ones where a user acted on an item.
        parameters: The hyperparameters.

    Returns:
        The cosine lists and the ridge lists of all items.
    """
    cosine = cosine_lists(matrix, np.arange(matrix.shape[1]), parameters)
    counts = np.asarray(matrix.sum(0)).ravel().astype(np.float32)
    order = np.argsort(-counts, kind="stable")[: parameters.head_items]
    head = np.sort(order[counts[order] > 1])
    shrinkage = parameters.shrinkage(matrix)
    parts = [
        _head_weights(matrix, head, cosine, shrinkage, parameters),
        _tail_weights(head, counts, cosine, shrinkage, parameters),
    ]
    return cosine, _by_source(*_joined(parts), matrix.shape[1])


def cosine_lists(matrix: sparse.csr_matrix, sources: Longs, parameters: NeighbourParameters = PARAMETERS) -> Lists:
    """Compute the cosine lists of some items.

    Args:
        matrix: [users, items] of ones where a user acted on an item.
        sources: The items, ascending. The lists of other items are empty.
        parameters: The hyperparameters.
    """
    shrink = parameters.shrinkage(matrix).cosine
    counts = np.asarray(matrix.sum(0)).ravel().astype(np.float32)
    by_item = matrix.T.tocsr()
    lengths = np.zeros(matrix.shape[1], np.int64)
    targets, scores = [np.empty(0, np.int32)], [np.empty(0, np.float32)]
    for first in range(0, len(sources), _BATCH_ROWS):
        rows = sources[first : first + _BATCH_ROWS]
        together = (by_item[rows] @ matrix).tocsr()
        for item, others, cosines in _best_of_rows(together, rows, counts, shrink, parameters.cosine_length):
            lengths[item] = len(others)
            targets.append(others)
            scores.append(cosines)
    start = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Lists(start, np.concatenate(targets).astype(np.int32), np.concatenate(scores).astype(np.float32))


def _best_of_rows(
    together: sparse.csr_matrix, items: Longs, counts: Floats, shrink: float, length: int
) -> Iterator[tuple[int, Ints, Floats]]:
    """Yield each item with its best neighbours and their cosines.

    Row k of `together` counts the users that items[k] shares with every other item.
    """
    for row, item in enumerate(items.tolist()):
        span = slice(together.indptr[row], together.indptr[row + 1])
        others = together.indices[span]
        scores = (together.data[span] / (np.sqrt(counts[item] * counts[others]) + shrink)).astype(np.float32)
        scores[others == item] = 0
        if len(scores) > length:
            kept = np.argpartition(-scores, length)[:length]
            others, scores = others[kept], scores[kept]
        positive = scores > 0
        yield item, others[positive], scores[positive]


def _head_weights(
    matrix: sparse.csr_matrix, head: Longs, cosine: Lists, shrinkage: Shrinkage, parameters: NeighbourParameters
) -> _Weights:
    """Regress each of the most popular items (`head`, ascending) on its best cosine candidates among them."""
    number = np.full(matrix.shape[1], -1, np.int32)
    number[head] = np.arange(len(head))
    columns = matrix[:, head]
    gram = np.asarray((columns.T @ columns).todense(), np.float32)
    parts = [_NO_WEIGHTS]
    for at in range(0, len(head), _BATCH_SYSTEMS):
        targets = np.arange(at, min(at + _BATCH_SYSTEMS, len(head)))
        candidates = np.stack([_candidates(cosine, head[target], number, parameters) for target in targets])
        present = candidates >= 0
        left = gram[candidates[:, :, None], candidates[:, None, :]] * (present[:, :, None] & present[:, None, :])
        right = gram[candidates, targets[:, None]] * present
        sources, rows, weights = _solve(left, right, candidates, shrinkage.ridge, parameters.min_weight)
        parts.append((head[sources], head[targets[rows]], weights))
    return _joined(parts)


def _tail_weights(
    head: Longs, counts: Floats, cosine: Lists, shrinkage: Shrinkage, parameters: NeighbourParameters
) -> _Weights:
    """Regress every other item with enough users on its best cosine candidates among all items.

    The number of users that two items share follows from the cosine lists. If neither item is in the list of the other,
    they share few users, and 0 is assumed. The cost is one small linear system for each item.
    """
    targets = np.setdiff1d(np.flatnonzero(counts >= parameters.min_users), head)
    if not len(targets):
        return _NO_WEIGHTS
    together = _together(cosine, counts, shrinkage.cosine)
    every = np.arange(len(counts), dtype=np.int32)
    parts = [_NO_WEIGHTS]
    for at in range(0, len(targets), _BATCH_SYSTEMS):
        batch = targets[at : at + _BATCH_SYSTEMS]
        candidates = np.stack([_candidates(cosine, target, every, parameters) for target in batch])
        left = np.zeros((*candidates.shape, candidates.shape[1]), np.float32)
        right = np.zeros(candidates.shape, np.float32)
        for row, (target, padded) in enumerate(zip(batch, candidates, strict=True)):
            others = padded[padded >= 0]
            count = len(others)
            left[row, :count, :count] = together[others][:, others].toarray()
            right[row, :count] = together[target, others].toarray().ravel()
        sources, rows, weights = _solve(left, right, candidates, shrinkage.ridge, parameters.min_weight)
        parts.append((sources, batch[rows], weights))
    return _joined(parts)


def _together(cosine: Lists, counts: Floats, shrink: float) -> sparse.csr_matrix:
    """Recover how many users each pair of items shares from the cosine lists. The diagonal holds the users of each."""
    items = len(counts)
    source = np.repeat(np.arange(items), np.diff(cosine.start))
    shared = np.rint(cosine.scores * (np.sqrt(counts[source] * counts[cosine.items]) + shrink)).astype(np.float32)
    known = sparse.csr_matrix((shared, cosine.items, cosine.start), (items, items))
    return (known.maximum(known.T) + sparse.diags(counts)).tocsr()


def _candidates(cosine: Lists, item: int, number: Ints, parameters: NeighbourParameters) -> Ints:
    """Return the numbers of an item's best cosine candidates, padded with -1. Items with the number -1 are left out."""
    span = slice(cosine.start[item], cosine.start[item + 1])
    others = number[cosine.items[span]]
    others = others[np.argsort(-cosine.scores[span], kind="stable")]
    others = others[others >= 0][: parameters.ridge_length]
    return np.concatenate([others, np.full(parameters.ridge_length - len(others), -1, np.int32)])


def _joined(parts: Sequence[_Weights]) -> _Weights:
    sources, targets, weights = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return sources, targets, weights


def _solve(left: Floats, right: Floats, candidates: Ints, ridge: float, min_weight: float) -> _Weights:
    """Solve (left + ridge I) w = right for a batch of N targets with S candidates each.

    Args:
        left: float32 [N, S, S], the users that pairs of candidates share. Overwritten. 0 where there is no candidate.
        right: float32 [N, S], the users that the candidates share with the target. 0 where there is no candidate.
        candidates: int32 [N, S], -1 where there is no candidate.
        ridge: Added to the diagonal.
        min_weight: Weights closer to 0 are dropped.

    Returns:
        The candidate, the number of the target in the batch, and the weight, of each weight that is kept.
    """
    diagonal = np.arange(candidates.shape[1])
    left[:, diagonal, diagonal] += ridge
    weights = np.linalg.solve(left, right[:, :, None])[:, :, 0].astype(np.float32)
    rows, places = np.nonzero((candidates >= 0) & (np.abs(weights) > min_weight))
    return candidates[rows, places], rows, weights[rows, places]


def _by_source(sources: Array, targets: Array, scores: Floats, items: int) -> Lists:
    order = np.argsort(sources, kind="stable")
    start = np.zeros(items + 1, np.int64)
    np.cumsum(np.bincount(sources, minlength=items), out=start[1:])
    return Lists(start, targets[order].astype(np.int32), scores[order].astype(np.float32))
