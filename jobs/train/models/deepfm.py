"""DeepFM (Guo et al. 2017) in the form that wins on few moments: a wide part that is fitted first and frozen, and the
FM and
deep parts as its residual, each segment with as much of it as helped on held-out data."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional

from jobs.train.data.rows import Rows
from jobs.train.models.wide import Wide
from recmesh.features.spec import SEGMENTS, Floats, Ints, Longs, Segment

_BUCKETS = 10
_DIM = 9
_LAYERS = (64, 32)
_LISTS = 64
_RATE = 2e-3
_LONGEST = 96


RANKER_OUTPUTS = ("score", "affinity")
"""What the ranker answers for each row: by what lists are ordered, and how much more the user is drawn to the item than
its popularity says (see jobs/train/affinity.py)."""


@dataclass(frozen=True)
class Buckets:
    """Quantile edges of each dense input, float32 [D, buckets - 1], ascending; +inf where an input has fewer distinct
    values."""

    edges: Floats

    @classmethod
    def of(cls, dense: Floats) -> "Buckets":
        edges = np.full((dense.shape[1], _BUCKETS - 1), np.inf, np.float32)
        for column in range(dense.shape[1]):
            found = np.unique(np.quantile(dense[:, column], np.linspace(0, 1, _BUCKETS + 1)[1:-1]).astype(np.float32))
            edges[column, : len(found)] = found
        return cls(edges)

    def index(self, dense: Floats) -> Ints:
        """int32 [N, D]: the bucket of each figure, numbered through all inputs."""
        found = np.empty(dense.shape, np.int32)
        for column, edges in enumerate(self.edges):
            found[:, column] = np.searchsorted(edges, dense[:, column], "right") + column * _BUCKETS
        return found


class DeepFM(nn.Layer):  # type: ignore[misc]
    """dense float32 [N, D], sparse int64 [N, C] (the segment first) -> score float32 [N], affinity float32 [N]."""

    def __init__(self, wides: Mapping[Segment, Wide], buckets: Buckets, columns: Sequence[int], seed: int) -> None:
        super().__init__()
        paddle.seed(seed)
        for name, width in (("wide_mean", len(buckets.edges)), ("wide_weights", len(buckets.edges)), ("alpha", 1)):
            self.register_buffer(name, paddle.zeros([len(SEGMENTS), width]))
        self.set_wide(wides, dict.fromkeys(SEGMENTS, 0.0))
        self.register_buffer("affinity_weights", paddle.zeros([len(buckets.edges), len(SEGMENTS)]))
        self.register_buffer("affinity_bias", paddle.zeros([len(SEGMENTS)]))
        self._buckets = buckets
        self.register_buffer("edges", paddle.to_tensor(buckets.edges))
        inputs = buckets.edges.shape[0]
        self._numbers = inputs * _BUCKETS
        self._rows = self._numbers + int(sum(columns))
        self.register_buffer("offsets", paddle.to_tensor(np.arange(inputs, dtype=np.int64) * _BUCKETS))
        small = paddle.ParamAttr(initializer=nn.initializer.Normal(0.0, 0.02))
        self.factors = nn.Embedding(self._rows, _DIM, weight_attr=small)
        width = (inputs + len(columns)) * _DIM
        # Products with them sum the factors of a row, several times as fast as Paddle's sum over an axis.
        self.register_buffer("summing", paddle.to_tensor(np.tile(np.eye(_DIM, dtype=np.float32), (width // _DIM, 1))))
        self.register_buffer("ones", paddle.ones([width, 1]))
        self.first = nn.Linear(width, _LAYERS[0])
        self.second = nn.Linear(_LAYERS[0], _LAYERS[1])
        self.last = nn.Linear(_LAYERS[1], 1)
        self._width = width

    def forward(self, dense: paddle.Tensor, sparse: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """See the class. `FusedDeepFM` computes the same, faster."""
        segment = paddle.clip(sparse[:, 0], 0, len(SEGMENTS) - 1)
        above = (dense.unsqueeze(-1) >= self.edges.unsqueeze(0)).astype("float32").sum(-1)
        share = functional.embedding(segment, self.alpha).squeeze(-1)
        score = self.wide(dense, segment) + share * self.residual(self.joined(above, sparse))
        return score, self.affinity(dense, segment)

    def wide(self, dense: paddle.Tensor, segment: paddle.Tensor) -> paddle.Tensor:
        """The wide part: dense float32 [N, D], segment int64 [N] -> float32 [N]."""
        mean, weights = (functional.embedding(segment, one) for one in (self.wide_mean, self.wide_weights))
        return ((dense - mean) * weights).sum(1)

    def affinity(self, dense: paddle.Tensor, segment: paddle.Tensor) -> paddle.Tensor:
        """The affinity: dense float32 [N, D], segment int64 [N] -> float32 [N]."""
        of_all = paddle.matmul(dense, self.affinity_weights) + self.affinity_bias
        return (of_all * functional.one_hot(segment, len(SEGMENTS))).sum(1)

    def joined(self, bucket: paddle.Tensor, sparse: paddle.Tensor) -> paddle.Tensor:
        """Rows of the embedding table, int64 [N, inputs]: of the dense inputs by their buckets, then of the sparse."""
        # An index outside the table would abort the process, so it must not depend on what a request brings.
        known = paddle.clip(sparse + self._numbers, self._numbers, self._rows - 1)
        return paddle.concat([bucket.astype("int64") + self.offsets, known], 1)

    def residual(self, index: paddle.Tensor) -> paddle.Tensor:
        """What the FM and deep parts add: index int64 [N, inputs] into the one embedding table -> float32 [N]."""
        factors = self.factors(index).reshape([-1, self._width])
        together = paddle.matmul(factors, self.summing)
        squares = paddle.matmul(factors * factors, self.ones).squeeze(-1)
        pairs = ((together * together).sum(1) - squares) * 0.5
        hidden = functional.relu(self.second(functional.relu(self.first(factors))))
        # The first factor of an entry is its first-order weight as well: one lookup instead of two.
        return together[:, 0] + pairs + self.last(hidden).squeeze(-1)

    def set_wide(self, wides: Mapping[Segment, Wide], alphas: Mapping[Segment, float]) -> None:
        """Put in the wide part of each segment and the share of the residual."""
        ordered = [wides[segment] for segment in SEGMENTS]
        self.wide_mean.set_value(np.stack([wide.mean for wide in ordered]))
        self.wide_weights.set_value(np.stack([wide.weights / wide.scale for wide in ordered]).astype(np.float32))
        self.set_alpha(alphas)

    def set_affinity(self, heads: Mapping[Segment, Wide]) -> None:
        """Put in the affinity of each segment."""
        weights = np.stack([heads[segment].weights / heads[segment].scale for segment in SEGMENTS], 1)
        means = np.stack([heads[segment].mean for segment in SEGMENTS], 1)
        self.affinity_weights.set_value(weights.astype(np.float32))
        self.affinity_bias.set_value(-(means.astype(np.float64) * weights).sum(0).astype(np.float32))

    def set_alpha(self, alphas: Mapping[Segment, float]) -> None:
        """Put in the share of the residual in each segment's score."""
        self.alpha.set_value(np.array([[alphas[segment]] for segment in SEGMENTS], np.float32))

    def index(self, dense: Floats, sparse: Longs) -> Ints:
        """The index that `forward` makes, for training, where the buckets of a row are needed many times; int32, half
        as large."""
        return np.concatenate([self._buckets.index(dense), (sparse + self._numbers).astype(np.int32)], 1)


def train_epoch(
    model: DeepFM,
    index: Ints,
    wide: Floats,
    rows: Rows,
    optimizer: paddle.optimizer.Optimizer,
    seed: int,
    progress: Callable[[int], None],
) -> None:
    """One pass over all lists: softmax over each list of wide + residual, the wide part fixed."""
    order = np.random.default_rng(seed).permutation(len(rows.weight))
    model.train()
    for at in range(0, len(order), _LISTS):
        chosen = order[at : at + _LISTS]
        place, there = _padded(rows.start, chosen)
        flat = place[there]
        scores = model.residual(paddle.to_tensor(index[flat].astype(np.int64))) + paddle.to_tensor(wide[flat])
        grid = paddle.full([place.size], -1e4)
        grid = paddle.scatter(grid, paddle.to_tensor(np.flatnonzero(there.ravel())), scores).reshape(place.shape)
        labels = np.where(there, rows.labels[place], 0).astype(np.float32) * rows.weight[chosen][:, None]
        loss = -(functional.log_softmax(grid, 1) * paddle.to_tensor(labels)).sum() / len(chosen)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        progress(len(chosen))
    model.eval()


def optimizer_of(model: DeepFM) -> paddle.optimizer.Optimizer:
    return paddle.optimizer.AdamW(_RATE, parameters=model.parameters(), weight_decay=1e-4)


def _padded(start: Longs, lists: Longs) -> "tuple[Longs, np.ndarray[tuple[int, int], np.dtype[np.bool_]]]":
    """Positions of the rows of some lists, one list a line, and which places hold a row. A list begins with its
    positives."""
    sizes = np.minimum(start[lists + 1] - start[lists], _LONGEST)
    step = np.arange(int(sizes.max()))
    there = step < sizes[:, None]
    return np.where(there, start[lists][:, None] + step, 0), there
