"""The two-tower model: a user tower over profile and history, an item tower over id and fields, and their training.

Sampled softmax with logQ correction (Yi et al. 2019, "Sampling-bias-corrected neural modeling for large corpus item
recommendations"); on a small catalogue every item is a candidate, which is the full softmax.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional

from jobs.train.data.prepare import Prepared
from recmesh.features import Encoder, User
from recmesh.features.spec import Floats, Ints, Longs, Tower
from recmesh.features.vocabulary import MISSING

FULL_SOFTMAX = 4096
"""Catalogues up to this size are trained against all their items; larger ones against as many sampled candidates."""

_BATCH = 512
_TARGETS = 24
_COLD_ROWS = 0.25
_DROPPED_IDS = 0.1
_DROPPED_FIELDS = 0.5
_AVERAGED = 0.5
_DECAY = 0.3
_SHRINK = 2.0
_HIDDEN = 64
_DROPOUT = 0.7


@dataclass(frozen=True)
class Effort:
    """How long to train: gradient steps, and the peak learning rate, which falls to a tenth along a cosine."""

    steps: int
    rate: float = 6e-3


class FieldEmbedding(nn.Layer):  # type: ignore[misc]
    """The sum of the embeddings of all codes of a row; code 0 (missing) adds nothing. Codes outside the table count
    as unseen."""

    def __init__(self, sizes: list[int], dim: int) -> None:
        super().__init__()
        sizes = sizes or [1]
        offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        self.register_buffer("offsets", paddle.to_tensor(offsets, "int64"))
        self.register_buffer("sizes", paddle.to_tensor(np.array(sizes), "int64"))
        self.table = nn.Embedding(int(sum(sizes)), dim, weight_attr=_small())

    def forward(self, codes: paddle.Tensor) -> paddle.Tensor:
        known = paddle.where(codes < self.sizes, codes, paddle.ones_like(codes))
        present = (codes > 0).astype("float32").unsqueeze(-1)
        # A field whose only code is 0 has no row 1; its codes are never present, but its index must stay in the table.
        index = paddle.clip(known + self.offsets, 0, self.table._num_embeddings - 1)
        return (self.table(index) * present).sum(1)


class ItemTower(nn.Layer):  # type: ignore[misc]
    """item int64 [B] (1 + item, 0: unknown), fields int64 [B, codes] -> vector float32 [B, dim]: dim - 1 factors,
    then the bias."""

    def __init__(self, log_share: Floats, sizes: list[int], shape: Tower) -> None:
        super().__init__()
        self.ids = nn.Embedding(len(log_share), shape.dim - 1, weight_attr=_small())
        self.fields = FieldEmbedding(sizes, shape.dim - 1)
        self.bias = nn.Embedding(
            len(log_share), 1, weight_attr=paddle.ParamAttr(initializer=nn.initializer.Assign(log_share[:, None]))
        )
        self.field_bias = FieldEmbedding(sizes, 1)
        with paddle.no_grad():
            self.ids.weight[0] = 0.0

    def forward(self, item: paddle.Tensor, fields: paddle.Tensor) -> paddle.Tensor:
        known = ((item > 0) & (item < self.ids._num_embeddings)).astype("int64")
        item = item * known
        mask = known.astype("float32").unsqueeze(-1)
        if self.training:
            mask = mask * (paddle.rand([item.shape[0], 1]) >= _DROPPED_IDS).astype("float32")
        factors = self.ids(item) * mask + self.fields(fields)
        return paddle.concat([factors, self.bias(item) + self.field_bias(fields)], 1)


class UserTower(nn.Layer):  # type: ignore[misc]
    """The user's vector from the mean of the history's item factors and the profile: an MLP on both, and a linear way
    around it."""

    def __init__(self, sizes: list[int], shape: Tower) -> None:
        super().__init__()
        dim = shape.dim - 1
        self.fields = FieldEmbedding(sizes, dim)
        self.dropout = nn.Dropout(_DROPOUT)
        self.hidden = nn.Linear(2 * dim, _HIDDEN)
        self.out = nn.Linear(_HIDDEN, dim)
        self.skip = nn.Linear(dim, dim)
        self.profile = nn.Linear(dim, dim)

    def forward(self, history: paddle.Tensor, total: paddle.Tensor, fields: paddle.Tensor) -> paddle.Tensor:
        """history float32 [B, dim - 1]: weighted sum of item factors, total float32 [B, 1]: sum of their weights,
        fields int64 [B, F] -> float32 [B, dim], 1 in the last place."""
        mean = history * (paddle.sqrt(total + 1.0) / (total + _SHRINK))
        profile = self.dropout(self.fields(fields))
        both = paddle.concat([mean, profile], 1)
        vector = self.out(functional.relu(self.hidden(both))) + self.skip(mean) + self.profile(profile)
        return paddle.concat([vector, paddle.ones_like(total)], 1)


class UserTowerExport(nn.Layer):  # type: ignore[misc]
    """The user tower with the item factors inside: items int64 [B, H] (1 + item, 0: none), weights, fields ->
    vector."""

    def __init__(self, tower: UserTower, factors: Floats) -> None:
        super().__init__()
        self.tower = tower
        self.register_buffer("factors", paddle.to_tensor(factors))

    def forward(self, items: paddle.Tensor, weights: paddle.Tensor, fields: paddle.Tensor) -> paddle.Tensor:
        known = paddle.clip(items, 0, self.factors.shape[0] - 1)
        present = weights * (known > 0).astype("float32")
        history = (functional.embedding(known, self.factors) * present.unsqueeze(-1)).sum(1)
        return self.tower(history, present.sum(1, keepdim=True), fields)


class TwoTower:
    """Both towers with what their training needs.

    `shown` int64 [users]: for each user the position after the last action that they were trained on.
    """

    def __init__(self, data: Prepared, shape: Tower, log_share: Floats, seed: int) -> None:
        """log_share float32 [items + 1]: log popularity, where the biases start; last that of an unknown item."""
        paddle.seed(seed)
        self.shape = shape
        self._rng = np.random.default_rng(seed)
        codes = [c.astype(np.int64) for c in data.catalogue.codes]
        self._item_fields = np.concatenate(codes, 1) if codes else np.zeros((len(data.catalogue) + 1, 1), np.int64)
        self._user_fields = (
            data.user_codes.astype(np.int64)
            if data.user_codes.shape[1]
            else np.zeros((len(data.start) - 1, 1), np.int64)
        )
        item_sizes = [v.size for v in data.item_vocabularies for _ in range(v.field.width)]
        starts = np.concatenate([log_share[-1:], log_share[:-1]]).astype(np.float32)
        self.items = ItemTower(starts, item_sizes, shape)
        self.users = UserTower([v.size for v in data.user_vocabularies], shape)
        self._count = len(data.catalogue)
        self.shown = data.start[:-1]

    def fit(self, data: Prepared, known: Longs, effort: Effort, progress: Callable[[int, float], None]) -> None:
        """Continue training on the actions before `known`; `progress` is told the step and the loss."""
        self.shown = np.maximum(self.shown, known)
        pairs = _FirstActions.of(data, known)
        if not len(pairs.users):
            return
        schedule = paddle.optimizer.lr.CosineAnnealingDecay(effort.rate, effort.steps, eta_min=effort.rate / 10)
        parameters = [*self.items.parameters(), *self.users.parameters()]
        optimizer = paddle.optimizer.AdamW(schedule, parameters=parameters, weight_decay=_DECAY, lazy_mode=True)
        average = _Average(parameters)
        self._set_training(True)
        share = np.bincount(pairs.items, minlength=self._count) + 1.0
        share /= share.sum()
        for step, users in enumerate(pairs.batches(self._rng, effort.steps)):
            loss = self._loss(pairs, users, share)
            loss.backward()
            optimizer.step()
            optimizer.clear_grad()
            schedule.step()
            if step >= (1 - _AVERAGED) * effort.steps:
                average.add()
            if step % 20 == 19 or step == effort.steps - 1:
                progress(step + 1, float(loss))
        average.put()
        self._set_training(False)

    def _set_training(self, on: bool) -> None:
        for tower in (self.items, self.users):
            tower.train() if on else tower.eval()

    def _loss(self, pairs: "_FirstActions", users: Longs, share: Floats) -> paddle.Tensor:
        history, weights, targets = pairs.rows(self._rng, users, self.shape.history)
        candidates, log_q = self._candidates(targets, share)
        needed, local = np.unique(np.concatenate([history.ravel(), candidates]), return_inverse=True)
        vectors = self.items(paddle.to_tensor(needed + 1), paddle.to_tensor(self._item_fields[needed]))
        # A product with a dense matrix of weights: the gradient of a gather of every history would cost far more.
        past = np.zeros((len(users), len(needed)), np.float32)
        np.add.at(past, (np.arange(len(users))[:, None], local[: history.size].reshape(history.shape)), weights)
        summed = paddle.matmul(paddle.to_tensor(past), vectors[:, :-1])
        total = paddle.to_tensor(weights.sum(1, keepdims=True))
        # A profile must speak for itself whichever of its fields are given, and not by heart.
        fields = self._user_fields[users]
        fields = np.where(self._rng.random(fields.shape) < _DROPPED_FIELDS, MISSING, fields)
        user = self.users(summed, total, paddle.to_tensor(fields))
        of_candidates = paddle.gather(vectors, paddle.to_tensor(local[history.size :]))
        logits = paddle.matmul(user, of_candidates, transpose_y=True) - paddle.to_tensor(log_q)
        row, column = np.nonzero(targets >= 0)
        position = np.searchsorted(candidates, targets[row, column])
        weight = (1.0 / np.sqrt(np.maximum((targets >= 0).sum(1), 1)))[row]
        # Paddle's own log_softmax takes ten times as long on a CPU.
        logits = logits - logits.max(1, keepdim=True).detach()
        normalizer = paddle.log(paddle.exp(logits).sum(1))
        chosen = paddle.gather_nd(logits, paddle.to_tensor(np.stack([row, position], 1)))
        chosen = chosen - paddle.gather(normalizer, paddle.to_tensor(row))
        return -(chosen * paddle.to_tensor(weight.astype(np.float32))).sum() / float(weight.sum())

    def _candidates(self, targets: Longs, share: Floats) -> tuple[Longs, Floats]:
        """Candidate items, ascending, and the log of the chance of each to be among them (0 where all items are)."""
        if self._count <= FULL_SOFTMAX:
            return np.arange(self._count), np.zeros(self._count, np.float32)
        wanted = targets[targets >= 0]
        drawn = self._rng.choice(self._count, FULL_SOFTMAX, p=share)
        candidates = np.unique(np.concatenate([wanted, drawn]))
        chance = -np.expm1(-(FULL_SOFTMAX + len(wanted)) * share[candidates])
        return candidates, np.log(chance).astype(np.float32)

    def item_vectors(self) -> Floats:
        """float32 [items, dim]."""
        parts = []
        with paddle.no_grad():
            for first in range(0, self._count, 65536):
                items = np.arange(first, min(first + 65536, self._count))
                parts.append(
                    self.items(paddle.to_tensor(items + 1), paddle.to_tensor(self._item_fields[items])).numpy()
                )
        return np.concatenate(parts)

    def exported_user_tower(self, vectors: Floats) -> UserTowerExport:
        """The user tower as it serves; `vectors` are those of `item_vectors`."""
        none = np.zeros((1, vectors.shape[1] - 1), np.float32)
        return UserTowerExport(self.users, np.concatenate([none, vectors[:, :-1]]))


class _Average:
    """The mean of parameters over several steps: better than the last step's (Izmailov et al. 2018, "Averaging weights
    leads to wider optima and better generalization")."""

    def __init__(self, parameters: Sequence[paddle.Tensor]) -> None:
        self._parameters = parameters
        self._sums = [np.zeros(one.shape, np.float32) for one in parameters]
        self._count = 0

    def add(self) -> None:
        """Count the parameters in as they are now."""
        for total, one in zip(self._sums, self._parameters, strict=True):
            np.add(total, one.numpy(), out=total)
        self._count += 1

    def put(self) -> None:
        """Set the parameters to their mean."""
        for total, one in zip(self._sums, self._parameters, strict=True):
            one.set_value(total / self._count)


@dataclass(frozen=True)
class _FirstActions:
    """First actions of users on items before a moment, in each user's order; those of user `users[k]` are
    start[k]:start[k + 1]."""

    users: Longs
    start: Longs
    items: Ints

    @classmethod
    def of(cls, data: Prepared, known: Longs) -> "_FirstActions":
        rows = np.flatnonzero(np.arange(len(data.users)) < known[data.users])
        pair = data.users[rows].astype(np.int64) * len(data.catalogue) + data.items[rows]
        first = np.sort(np.unique(pair, return_index=True)[1])
        users, begin = np.unique(data.users[rows][first], return_index=True)
        return cls(users.astype(np.int64), np.append(begin, len(first)), data.items[rows][first].astype(np.int64))

    def batches(self, rng: np.random.Generator, steps: int) -> Iterator[Longs]:
        """Batches of positions in `users`, in a new order every time all were used."""
        size = min(_BATCH, len(self.users))
        order: Longs = np.empty(0, np.int64)
        for _ in range(steps):
            if len(order) < size:
                order = rng.permutation(len(self.users))
            batch, order = order[:size], order[size:]
            yield self.users[batch]

    def rows(self, rng: np.random.Generator, users: Longs, length: int) -> tuple[Longs, Floats, Longs]:
        """history [B, H] with weights float32 [B, H], and targets [B, T] padded with -1: what came next after a
        random cut."""
        at = np.searchsorted(self.users, users)
        begin, end = self.start[at], self.start[at + 1]
        cut = begin + (rng.random(len(at)) * (end - begin)).astype(np.int64)
        back = cut[:, None] - 1 - np.arange(length)
        there = (back >= begin[:, None]) & (rng.random(len(at)) >= _COLD_ROWS)[:, None]
        width = max(int(there.sum(1).max()), 1)
        history = np.where(there, self.items[np.maximum(back, 0)], 0)[:, :width]
        ahead = cut[:, None] + np.arange(_TARGETS)
        targets = np.where(ahead < end[:, None], self.items[np.minimum(ahead, len(self.items) - 1)], -1)
        return history, there[:, :width].astype(np.float32), targets


def _small() -> paddle.ParamAttr:
    return paddle.ParamAttr(initializer=nn.initializer.Normal(0.0, 0.05))


def user_vectors(tower: UserTowerExport, encoder: Encoder) -> Callable[[Sequence[User]], Floats]:
    """A function from users to their vectors, float32 [users, dim], in batches padded to the longest history."""

    def run(users: Sequence[User]) -> Floats:
        with paddle.no_grad():
            return np.concatenate([_run(users[at : at + _BATCH]) for at in range(0, len(users), _BATCH)])

    def _run(users: Sequence[User]) -> Floats:
        inputs = [encoder.tower_inputs(user) for user in users]
        width = max(one["items"].shape[1] for one in inputs)
        items, weights = np.zeros((len(users), width), np.int64), np.zeros((len(users), width), np.float32)
        for row, one in enumerate(inputs):
            items[row, : one["items"].shape[1]] = one["items"][0]
            weights[row, : one["items"].shape[1]] = one["weights"][0]
        fields = np.concatenate([one["fields"] for one in inputs])
        vectors: Floats = tower(*map(paddle.to_tensor, (items, weights, fields))).numpy()
        return vectors

    return run
