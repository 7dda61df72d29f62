"""DeepFM, adapted to few cut-offs.

Guo et al. 2017, "DeepFM: a factorization-machine based neural network for CTR prediction".

The wide part is fitted first and then frozen. The FM and deep parts learn its residual, and each segment uses the share
of the residual that helps on held-out data.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional

from jobs.train.data.rows import Rows
from jobs.train.models.debiased_score import SQUARE_LIMIT, Squares
from jobs.train.models.wide import Wide
from recmesh.features.spec import SEGMENTS, Floats, Ints, Longs, Segment

RANKER_OUTPUTS = ("score", "affinity")
"""Names of the outputs for each row: the score that orders lists, and the debiased score (models/debiased_score.py)."""


@dataclass(frozen=True)
class DeepFMParameters:
    """Hyperparameters of the FM and deep parts.

    Attributes:
        buckets: Quantile buckets of each dense input.
        dim: Length of the embedding of a bucket or of a sparse value.
        hidden: Sizes of the hidden layers.
        initial_deviation: Standard deviation of the embeddings before training.
        batch_lists: Lists of a gradient step.
        max_list_rows: Rows of a list that are used; a list begins with its positives.
        learning_rate: Of AdamW.
        weight_decay: Of AdamW.
        max_epochs: Training stops earlier if an epoch does not improve the evaluation.
        shares: Shares of the residual in the score that are evaluated. The first is none of it.
    """

    buckets: int = 10
    dim: int = 9
    hidden: tuple[int, int] = (64, 32)
    initial_deviation: float = 0.02
    batch_lists: int = 64
    max_list_rows: int = 96
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    max_epochs: int = 5
    shares: tuple[float, ...] = (0.0, 0.25, 0.5, 1.0)


PARAMETERS = DeepFMParameters()


@dataclass(frozen=True)
class Buckets:
    """Quantile buckets of the dense inputs.

    Attributes:
        edges: float32 [D, buckets - 1], ascending; +inf at the end of a row whose input has few distinct values.
    """

    edges: Floats

    @classmethod
    def of(cls, dense: Floats, count: int = PARAMETERS.buckets) -> "Buckets":
        """Compute the quantiles of inputs, float32 [N, D]."""
        edges = np.full((dense.shape[1], count - 1), np.inf, np.float32)
        for column in range(dense.shape[1]):
            found = np.unique(np.quantile(dense[:, column], np.linspace(0, 1, count + 1)[1:-1]).astype(np.float32))
            edges[column, : len(found)] = found
        return cls(edges)

    @property
    def count(self) -> int:
        """Buckets of each input."""
        return int(self.edges.shape[1]) + 1

    def index(self, dense: Floats) -> Ints:
        """Return the bucket of each value, int32 [N, D]. The buckets of input k begin at k * count."""
        found = np.empty(dense.shape, np.int32)
        for column, edges in enumerate(self.edges):
            found[:, column] = np.searchsorted(edges, dense[:, column], "right") + column * self.count
        return found


class DeepFM(nn.Layer):  # type: ignore[misc]
    """The ranker: dense float32 [N, D], sparse int64 [N, C] -> score float32 [N], debiased score float32 [N].

    The first sparse column is the segment, as its position in `SEGMENTS`.

    Args:
        wides: The wide part of each segment.
        buckets: Buckets of the dense inputs.
        columns: Number of values of each sparse column.
        seed: Random seed of the initial weights.
        parameters: The hyperparameters.
    """

    def __init__(
        self,
        wides: Mapping[Segment, Wide],
        buckets: Buckets,
        columns: Sequence[int],
        seed: int,
        parameters: DeepFMParameters = PARAMETERS,
    ) -> None:
        super().__init__()
        paddle.seed(seed)
        for name, width in (("wide_mean", len(buckets.edges)), ("wide_weights", len(buckets.edges)), ("alpha", 1)):
            self.register_buffer(name, paddle.zeros([len(SEGMENTS), width]))
        self.set_wide(wides, dict.fromkeys(SEGMENTS, 0.0))
        self.register_buffer("squares_mean", paddle.zeros([len(buckets.edges)]))
        self.register_buffer("squares_scale", paddle.ones([len(buckets.edges)]))
        self.register_buffer("debiased_weights", paddle.zeros([2 * len(buckets.edges), len(SEGMENTS)]))
        self.register_buffer("debiased_bias", paddle.zeros([len(SEGMENTS)]))
        self._buckets = buckets
        self.register_buffer("edges", paddle.to_tensor(buckets.edges))
        inputs = buckets.edges.shape[0]
        self._numbers = inputs * buckets.count
        self._rows = self._numbers + int(sum(columns))
        self.register_buffer("offsets", paddle.to_tensor(np.arange(inputs, dtype=np.int64) * buckets.count))
        dim, (first, second) = parameters.dim, parameters.hidden
        small = paddle.ParamAttr(initializer=nn.initializer.Normal(0.0, parameters.initial_deviation))
        self.factors = nn.Embedding(self._rows, dim, weight_attr=small)
        width = (inputs + len(columns)) * dim
        # A product with these matrices sums the factors of a row several times faster than Paddle's sum over an axis.
        self.register_buffer("summing", paddle.to_tensor(np.tile(np.eye(dim, dtype=np.float32), (width // dim, 1))))
        self.register_buffer("ones", paddle.ones([width, 1]))
        self.first = nn.Linear(width, first)
        self.second = nn.Linear(first, second)
        self.last = nn.Linear(second, 1)
        self._width = width

    def forward(self, dense: paddle.Tensor, sparse: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Compute both outputs. `FusedDeepFM` computes the same values faster."""
        segment = paddle.clip(sparse[:, 0], 0, len(SEGMENTS) - 1)
        above = (dense.unsqueeze(-1) >= self.edges.unsqueeze(0)).astype("float32").sum(-1)
        share = functional.embedding(segment, self.alpha).squeeze(-1)
        score = self.wide(dense, segment) + share * self.residual(self.joined(above, sparse))
        return score, self.debiased_score(dense, segment)

    def wide(self, dense: paddle.Tensor, segment: paddle.Tensor) -> paddle.Tensor:
        """Compute the wide part: dense float32 [N, D], segment int64 [N] -> float32 [N]."""
        mean, weights = (functional.embedding(segment, table) for table in (self.wide_mean, self.wide_weights))
        return ((dense - mean) * weights).sum(1)

    def debiased_score(self, dense: paddle.Tensor, segment: paddle.Tensor) -> paddle.Tensor:
        """Compute the debiased score: dense float32 [N, D], segment int64 [N] -> float32 [N]."""
        limited = paddle.clip((dense - self.squares_mean) / self.squares_scale, -SQUARE_LIMIT, SQUARE_LIMIT)
        inputs = paddle.concat([dense, limited * limited], 1)
        by_segment = paddle.matmul(inputs, self.debiased_weights) + self.debiased_bias
        return (by_segment * functional.one_hot(segment, len(SEGMENTS))).sum(1)

    def joined(self, bucket: paddle.Tensor, sparse: paddle.Tensor) -> paddle.Tensor:
        """Return rows of the embedding table, int64 [N, D + C].

        Args:
            bucket: [N, D], the bucket of each dense input, counted from 0.
            sparse: int64 [N, C], the sparse inputs.
        """
        # An index outside the table aborts the process, and requests can contain any number.
        known = paddle.clip(sparse + self._numbers, self._numbers, self._rows - 1)
        return paddle.concat([bucket.astype("int64") + self.offsets, known], 1)

    def residual(self, index: paddle.Tensor) -> paddle.Tensor:
        """Compute the FM and deep parts: index int64 [N, D + C] into the embedding table -> float32 [N]."""
        factors = self.factors(index).reshape([-1, self._width])
        together = paddle.matmul(factors, self.summing)
        squares = paddle.matmul(factors * factors, self.ones).squeeze(-1)
        pairs = ((together * together).sum(1) - squares) * 0.5
        hidden = functional.relu(self.second(functional.relu(self.first(factors))))
        # The first factor of an entry is also its first-order weight, which saves a second lookup.
        return together[:, 0] + pairs + self.last(hidden).squeeze(-1)

    def set_wide(self, wides: Mapping[Segment, Wide], alphas: Mapping[Segment, float]) -> None:
        """Set the wide part of each segment and its share of the residual."""
        ordered = [wides[segment] for segment in SEGMENTS]
        self.wide_mean.set_value(np.stack([wide.mean for wide in ordered]))
        self.wide_weights.set_value(np.stack([wide.weights / wide.scale for wide in ordered]).astype(np.float32))
        self.set_alpha(alphas)

    def set_debiased_score(self, heads: Mapping[Segment, Wide], squares: Squares) -> None:
        """Set the debiased score of each segment, linear in what `squares` returns."""
        self.squares_mean.set_value(squares.mean)
        self.squares_scale.set_value(squares.scale)
        weights = np.stack([heads[segment].weights / heads[segment].scale for segment in SEGMENTS], 1)
        means = np.stack([heads[segment].mean for segment in SEGMENTS], 1)
        self.debiased_weights.set_value(weights.astype(np.float32))
        self.debiased_bias.set_value(-(means.astype(np.float64) * weights).sum(0).astype(np.float32))

    def set_alpha(self, alphas: Mapping[Segment, float]) -> None:
        """Set the share of the residual in the score of each segment."""
        self.alpha.set_value(np.array([[alphas[segment]] for segment in SEGMENTS], np.float32))

    def index(self, dense: Floats, sparse: Longs) -> Ints:
        """Compute the index of `residual` once for all epochs, as int32 [N, D + C] to save memory."""
        return np.concatenate([self._buckets.index(dense), (sparse + self._numbers).astype(np.int32)], 1)


def train_epoch(
    model: DeepFM,
    index: Ints,
    wide: Floats,
    rows: Rows,
    optimizer: paddle.optimizer.Optimizer,
    seed: int,
    progress: Callable[[int], None],
    parameters: DeepFMParameters = PARAMETERS,
) -> None:
    """Make one pass over all lists. The loss is the softmax over each list of wide part + residual.

    Args:
        model: The model to train.
        index: int32 [N, D + C], from `DeepFM.index`.
        wide: float32 [N], scores of the wide part, which stay fixed.
        rows: The lists.
        optimizer: From `optimizer_of`.
        seed: Random seed of the order of the lists.
        progress: Called with the number of lists of each step.
        parameters: The hyperparameters.
    """
    order = np.random.default_rng(seed).permutation(len(rows.weight))
    model.train()
    for at in range(0, len(order), parameters.batch_lists):
        chosen = order[at : at + parameters.batch_lists]
        place, present = _padded(rows.start, chosen, parameters.max_list_rows)
        flat = place[present]
        scores = model.residual(paddle.to_tensor(index[flat].astype(np.int64))) + paddle.to_tensor(wide[flat])
        grid = paddle.full([place.size], -1e4)
        grid = paddle.scatter(grid, paddle.to_tensor(np.flatnonzero(present.ravel())), scores).reshape(place.shape)
        labels = np.where(present, rows.labels[place], 0).astype(np.float32) * rows.weight[chosen][:, None]
        loss = -(functional.log_softmax(grid, 1) * paddle.to_tensor(labels)).sum() / len(chosen)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        progress(len(chosen))
    model.eval()


def optimizer_of(model: DeepFM, parameters: DeepFMParameters = PARAMETERS) -> paddle.optimizer.Optimizer:
    """Return the optimizer that `train_epoch` needs."""
    return paddle.optimizer.AdamW(
        parameters.learning_rate, parameters=model.parameters(), weight_decay=parameters.weight_decay
    )


def _padded(
    start: Longs, lists: Longs, max_rows: int
) -> "tuple[Longs, np.ndarray[tuple[int, int], np.dtype[np.bool_]]]":
    """Return the positions of the rows of L lists, int64 [L, longest], and which of the entries are rows, bool."""
    sizes = np.minimum(start[lists + 1] - start[lists], max_rows)
    step = np.arange(int(sizes.max()))
    present = step < sizes[:, None]
    return np.where(present, start[lists][:, None] + step, 0), present
