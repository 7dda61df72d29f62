"""The two-tower model: a user tower over profile and history, an item tower over id and fields, and their training.

Sampled softmax with logQ correction (Yi et al. 2019, "Sampling-bias-corrected neural modeling for large corpus item
recommendations"); on a small catalogue every item is a candidate, which is the full softmax.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional

from jobs.train.data.prepare import Prepared
from jobs.train.models.popularity import ItemPopularity, item_popularity
from jobs.train.models.tower_parameters import PARAMETERS, Effort, TwoTowerParameters
from jobs.train.models.visits import Visits, positive
from recmesh.features import Encoder, User
from recmesh.features.spec import Floats, Longs, Mask, Tower
from recmesh.features.statistics import is_new
from recmesh.features.vocabulary import MISSING, Vocabulary

_EXPORT_BATCH = 65_536
"""Items that the item tower encodes at once. It bounds memory and has no influence on the result."""


@dataclass(frozen=True)
class FieldTable:
    """The rows of a table with one row for each code of each field. The values of a multi field share their rows.

    Attributes:
        sizes: int64 [codes], for each code of an item or user the number of codes of its field.
        offsets: int64 [codes], the first row of its field.
        rows: The number of rows.
    """

    sizes: Longs
    offsets: Longs
    rows: int

    @classmethod
    def of(cls, vocabularies: Sequence[Vocabulary], first_only: bool = False) -> "FieldTable":
        """Arrange the codes of fields. Without fields, there is one code, which is always 0.

        Args:
            vocabularies: The fields.
            first_only: Whether only the first value of a multi field counts, as for users.
        """
        sizes = np.array([v.size for v in vocabularies] or [1], np.int64)
        widths = [1 if first_only else v.field.width for v in vocabularies] or [1]
        offsets = np.cumsum(sizes) - sizes
        return cls(np.repeat(sizes, widths), np.repeat(offsets, widths), int(sizes.sum()))

    def rows_of(self, codes: Longs) -> Longs:
        """Return the row of each code int64 [items, codes], -1 for a missing value."""
        rows: Longs = np.where(codes > 0, codes + self.offsets, -1)
        return rows


class FieldEmbedding(nn.Layer):  # type: ignore[misc]
    """The sum of the embeddings of all codes of a row.

    Code 0 (missing) adds nothing, and codes outside the table count as unseen.
    """

    def __init__(self, table: FieldTable, dim: int) -> None:
        super().__init__()
        self.register_buffer("offsets", paddle.to_tensor(table.offsets, "int64"))
        self.register_buffer("sizes", paddle.to_tensor(table.sizes, "int64"))
        self.table = nn.Embedding(table.rows, dim, weight_attr=_small())

    def forward(self, codes: paddle.Tensor) -> paddle.Tensor:
        """Sum the embeddings: codes int64 [B, fields] -> float32 [B, dim]."""
        index, present = self.placed(codes)
        return (self.table(index) * present).sum(1)

    def placed(self, codes: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Return the row of each code, int64 [B, codes], and 1 or 0 for missing ones, float32 [B, codes, 1]."""
        known = paddle.where(codes < self.sizes, codes, paddle.ones_like(codes))
        present = (codes > 0).astype("float32").unsqueeze(-1)
        # A field whose only code is 0 has no row 1. Its codes add nothing, but their index must be inside the table.
        return paddle.clip(known + self.offsets, 0, self.table._num_embeddings - 1), present


class ItemTower(nn.Layer):  # type: ignore[misc]
    """The item encoder: item int64 [B], fields int64 [B, codes] -> vector float32 [B, dim].

    An item is given as 1 + its number, or 0 if it is unknown; items without actions count as unknown. The vector
    consists of dim - 1 factors and the bias: the log popularity, which is not trained, and a trained difference. The
    popularity of an unknown item is the expected one of its fields, and its factors are a part of those of the fields.

    Args:
        items: Number of items.
        fields: The codes of the item fields.
        shape: Sizes of the towers.
        parameters: The hyperparameters.
    """

    def __init__(
        self, items: int, fields: FieldTable, shape: Tower, parameters: TwoTowerParameters = PARAMETERS
    ) -> None:
        super().__init__()
        self._dropped_share = parameters.dropped_id_share
        self._unknown_share = parameters.unknown_factors_share
        self.ids = nn.Embedding(items + 1, shape.dim - 1, weight_attr=_small(parameters.initial_id_deviation))
        self.fields = FieldEmbedding(fields, shape.dim - 1)
        self.bias = nn.Embedding(items + 1, 1, weight_attr=_small(0.0))
        self.register_buffer("acted", paddle.zeros([items + 1, 1]))
        self.register_buffer("measured", paddle.zeros([items + 1, 1]))
        self.register_buffer("effects", paddle.zeros([fields.rows, 1]))
        self.register_buffer("base", paddle.zeros([1]))

    def set_popularity(self, popularity: ItemPopularity, acted: Mask) -> None:
        """Set the log popularities, and which items have actions. The others count as unknown."""
        self.acted.set_value(np.append(False, acted)[:, None].astype(np.float32))
        self.measured.set_value(np.append(0, popularity.measured)[:, None].astype(np.float32))
        self.effects.set_value(popularity.effects[:, None])
        self.base.set_value(np.array([popularity.base], np.float32))

    def forward(self, item: paddle.Tensor, fields: paddle.Tensor) -> paddle.Tensor:
        """Encode items."""
        known = ((item > 0) & (item < self.ids._num_embeddings)).astype("int64")
        item = item * known
        listed = functional.embedding(item, self.acted)
        mask = listed
        if self.training:
            mask = listed * (paddle.rand([item.shape[0], 1]) >= self._dropped_share).astype("float32")
        index, present = self.fields.placed(fields)
        factors = self.ids(item) * mask + (self.fields.table(index) * present).sum(1)
        factors = factors * (listed + self._unknown_share * (1.0 - listed))
        expected = (functional.embedding(index, self.effects) * present).sum(1) + self.base
        popularity = functional.embedding(item, self.measured) * listed + expected * (1.0 - listed)
        return paddle.concat([factors, popularity + self.bias(item) * mask], 1)


class UserTower(nn.Layer):  # type: ignore[misc]
    """The user encoder: an MLP on the history's mean item factors and the profile, with linear skip connections.

    Args:
        fields: The codes of the profile fields.
        shape: Sizes of the towers.
        parameters: The hyperparameters.
    """

    def __init__(self, fields: FieldTable, shape: Tower, parameters: TwoTowerParameters = PARAMETERS) -> None:
        super().__init__()
        dim = shape.dim - 1
        self._shrinkage = parameters.history_shrinkage
        self.fields = FieldEmbedding(fields, dim)
        self.dropout = nn.Dropout(parameters.profile_dropout)
        self.hidden = nn.Linear(2 * dim, parameters.hidden)
        self.out = nn.Linear(parameters.hidden, dim)
        self.skip = nn.Linear(dim, dim)
        self.profile = nn.Linear(dim, dim)

    def forward(self, history: paddle.Tensor, total: paddle.Tensor, fields: paddle.Tensor) -> paddle.Tensor:
        """Encode users.

        Args:
            history: float32 [B, dim - 1], weighted sums of the item factors.
            total: float32 [B, 1], sums of the weights.
            fields: int64 [B, F], codes of the profile.

        Returns:
            float32 [B, dim]. The last component is 1, for the bias of the item.
        """
        mean = history * (paddle.sqrt(total + 1.0) / (total + self._shrinkage))
        profile = self.dropout(self.fields(fields))
        both = paddle.concat([mean, profile], 1)
        vector = self.out(functional.relu(self.hidden(both))) + self.skip(mean) + self.profile(profile)
        return paddle.concat([vector, paddle.ones_like(total)], 1)


class UserTowerExport(nn.Layer):  # type: ignore[misc]
    """The user tower with the item factors inside, as it is served.

    items int64 [B, H], weights float32 [B, H], fields int64 [B, F] -> vector float32 [B, dim]. An item is given as 1 +
    its number, or 0 for none.
    """

    def __init__(self, tower: UserTower, factors: Floats) -> None:
        super().__init__()
        self.tower = tower
        self.register_buffer("factors", paddle.to_tensor(factors))

    def forward(self, items: paddle.Tensor, weights: paddle.Tensor, fields: paddle.Tensor) -> paddle.Tensor:
        """Encode users."""
        known = paddle.clip(items, 0, self.factors.shape[0] - 1)
        present = weights * (known > 0).astype("float32")
        history = (functional.embedding(known, self.factors) * present.unsqueeze(-1)).sum(1)
        return self.tower(history, present.sum(1, keepdim=True), fields)


class TwoTower:
    """Both towers and their training.

    Attributes:
        shape: Sizes of the towers.
        items: The item tower.
        users: The user tower.
        shown: int64 [users], for each user the position after the last action that the model was trained on.

    Args:
        data: The data set.
        shape: Sizes of the towers.
        seed: Random seed.
        by_visit: Whether to predict the next visits, as in a split by date, and not the next actions.
        parameters: The hyperparameters.
    """

    def __init__(
        self,
        data: Prepared,
        shape: Tower,
        seed: int,
        by_visit: bool,
        parameters: TwoTowerParameters = PARAMETERS,
    ) -> None:
        paddle.seed(seed)
        self._by_visit = by_visit
        self._parameters = parameters
        self.shape = shape
        self._rng = np.random.default_rng(seed)
        codes = [c.astype(np.int64) for c in data.catalogue.codes]
        self._item_fields = np.concatenate(codes, 1) if codes else np.zeros((len(data.catalogue) + 1, 1), np.int64)
        self._user_fields = (
            data.user_codes.astype(np.int64)
            if data.user_codes.shape[1]
            else np.zeros((len(data.start) - 1, 1), np.int64)
        )
        self._item_table = FieldTable.of(data.item_vocabularies)
        self.items = ItemTower(len(data.catalogue), self._item_table, shape, parameters)
        self.users = UserTower(FieldTable.of(data.user_vocabularies, first_only=True), shape, parameters)
        self._count = len(data.catalogue)
        self.shown = data.start[:-1]

    def fit(self, data: Prepared, known: Longs, effort: Effort, progress: Callable[[int, float], None]) -> None:
        """Continue training.

        Args:
            data: The data set.
            known: int64 [users], for each user the position after the last action to train on.
            effort: How long to train.
            progress: Called with the number of steps so far and the loss, every 20 steps.
        """
        self.shown = np.maximum(self.shown, known)
        rows, masses = positive(data, known)
        mass = np.bincount(data.items[rows], masses, self._count)
        codes = self._item_table.rows_of(self._item_fields[: self._count])
        self.items.set_popularity(item_popularity(mass, _new(data, rows), codes, self._item_table.rows), mass > 0)
        pairs = Visits.of(data, rows, masses, self._parameters, self._by_visit)
        if not len(pairs.users):
            return
        schedule = paddle.optimizer.lr.CosineAnnealingDecay(effort.rate, effort.steps, eta_min=effort.rate / 10)
        weights = [*self.items.parameters(), *self.users.parameters()]
        optimizer = paddle.optimizer.AdamW(
            schedule, parameters=weights, weight_decay=self._parameters.weight_decay, lazy_mode=True
        )
        average = _Average(weights)
        self._set_training(True)
        share = np.bincount(pairs.items, minlength=self._count) + 1.0
        share /= share.sum()
        for step, users in enumerate(pairs.batches(self._rng, effort.steps)):
            loss = self._loss(pairs, users, share)
            loss.backward()
            optimizer.step()
            optimizer.clear_grad()
            schedule.step()
            if step >= (1 - self._parameters.averaged_share) * effort.steps:
                average.add()
            if step % 20 == 19 or step == effort.steps - 1:
                progress(step + 1, float(loss))
        average.apply()
        self._set_training(False)

    def _set_training(self, on: bool) -> None:
        for tower in (self.items, self.users):
            tower.train() if on else tower.eval()

    def _loss(self, pairs: Visits, users: Longs, share: Floats) -> paddle.Tensor:
        history, weights, targets, importance = pairs.rows(self._rng, users, self.shape.history)
        candidates, log_q = self._candidates(targets, share)
        needed, local = np.unique(np.concatenate([history.ravel(), candidates]), return_inverse=True)
        vectors = self.items(paddle.to_tensor(needed + 1), paddle.to_tensor(self._item_fields[needed]))
        # A product with a dense matrix of weights, because the gradient of a gather is far more expensive.
        past = np.zeros((len(users), len(needed)), np.float32)
        np.add.at(past, (np.arange(len(users))[:, None], local[: history.size].reshape(history.shape)), weights)
        summed = paddle.matmul(paddle.to_tensor(past), vectors[:, :-1])
        total = paddle.to_tensor(weights.sum(1, keepdims=True))
        # Requests leave fields out, and a model that always sees complete profiles memorises their users.
        fields = self._user_fields[users]
        dropped = self._rng.random(fields.shape) < self._parameters.dropped_field_share
        fields = np.where(dropped, MISSING, fields)
        user = self.users(summed, total, paddle.to_tensor(fields))
        of_candidates = paddle.gather(vectors, paddle.to_tensor(local[history.size :]))
        logits = paddle.matmul(user, of_candidates, transpose_y=True) - paddle.to_tensor(log_q)
        row, column = np.nonzero(targets >= 0)
        position = np.searchsorted(candidates, targets[row, column])
        weight = (1.0 / np.sqrt(np.maximum((targets >= 0).sum(1), 1)))[row] * importance[row, column]
        # Paddle's own log_softmax is ten times slower on a CPU.
        logits = logits - logits.max(1, keepdim=True).detach()
        normalizer = paddle.log(paddle.exp(logits).sum(1))
        chosen = paddle.gather_nd(logits, paddle.to_tensor(np.stack([row, position], 1)))
        chosen = chosen - paddle.gather(normalizer, paddle.to_tensor(row))
        return -(chosen * paddle.to_tensor(weight.astype(np.float32))).sum() / float(weight.sum())

    def _candidates(self, targets: Longs, share: Floats) -> tuple[Longs, Floats]:
        """Return candidate items, ascending, and the log of each one's chance to be sampled (0 if all items are)."""
        sample = self._parameters.full_softmax_items
        if self._count <= sample:
            return np.arange(self._count), np.zeros(self._count, np.float32)
        wanted = targets[targets >= 0]
        drawn = self._rng.choice(self._count, sample, p=share)
        candidates = np.unique(np.concatenate([wanted, drawn]))
        chance = -np.expm1(-(sample + len(wanted)) * share[candidates])
        return candidates, np.log(chance).astype(np.float32)

    def item_vectors(self) -> Floats:
        """Return the vectors of all items, float32 [items, dim]."""
        parts = []
        with paddle.no_grad():
            for first in range(0, self._count, _EXPORT_BATCH):
                items = np.arange(first, min(first + _EXPORT_BATCH, self._count))
                parts.append(
                    self.items(paddle.to_tensor(items + 1), paddle.to_tensor(self._item_fields[items])).numpy()
                )
        return np.concatenate(parts)

    def exported_user_tower(self, vectors: Floats) -> UserTowerExport:
        """Return the user tower as it is served; `vectors` are the result of `item_vectors`."""
        none = np.zeros((1, vectors.shape[1] - 1), np.float32)
        return UserTowerExport(self.users, np.concatenate([none, vectors[:, :-1]]))


class _Average:
    """The mean of the weights over several steps.

    Izmailov et al. 2018, "Averaging weights leads to wider optima and better generalization".
    """

    def __init__(self, parameters: Sequence[paddle.Tensor]) -> None:
        self._parameters = parameters
        self._sums = [np.zeros(parameter.shape, np.float32) for parameter in parameters]
        self._count = 0

    def add(self) -> None:
        """Add the current values to the mean."""
        for total, parameter in zip(self._sums, self._parameters, strict=True):
            np.add(total, parameter.numpy(), out=total)
        self._count += 1

    def apply(self) -> None:
        """Set the weights to their mean."""
        for total, parameter in zip(self._sums, self._parameters, strict=True):
            parameter.set_value(total / self._count)


def _new(data: Prepared, rows: Longs) -> Mask:
    """Return which items are new after the actions `rows`, bool [items]."""
    count, as_of = len(data.catalogue), int(data.times[rows].max(initial=0))
    pairs = np.unique(data.pairs(rows))
    first = np.full(count, as_of)
    np.minimum.at(first, data.items[rows], data.times[rows])
    return is_new(np.bincount(pairs % count, minlength=count), first, as_of)


def _small(deviation: float = PARAMETERS.initial_deviation) -> paddle.ParamAttr:
    return paddle.ParamAttr(initializer=nn.initializer.Normal(0.0, deviation))


def user_vectors(tower: UserTowerExport, encoder: Encoder) -> Callable[[Sequence[User]], Floats]:
    """Return a function from users to their vectors, float32 [users, dim].

    It runs the tower in batches that are padded to their longest history.
    """
    size = PARAMETERS.batch_users

    def run(users: Sequence[User]) -> Floats:
        with paddle.no_grad():
            return np.concatenate([_run(users[at : at + size]) for at in range(0, len(users), size)])

    def _run(users: Sequence[User]) -> Floats:
        inputs = [encoder.tower_inputs(user) for user in users]
        width = max(row["items"].shape[1] for row in inputs)
        items, weights = np.zeros((len(users), width), np.int64), np.zeros((len(users), width), np.float32)
        for number, row in enumerate(inputs):
            items[number, : row["items"].shape[1]] = row["items"][0]
            weights[number, : row["items"].shape[1]] = row["weights"][0]
        fields = np.concatenate([row["fields"] for row in inputs])
        vectors: Floats = tower(*map(paddle.to_tensor, (items, weights, fields))).numpy()
        return vectors

    return run
