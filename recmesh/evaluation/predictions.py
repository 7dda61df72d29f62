"""Score lists of ids, from `recmesh` or any other system, against the later actions of the users."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recmesh.errors import DataError
from recmesh.evaluation.metrics import Array, names, of_ids, standard_error

Pairs = Iterable[tuple[str, str]]
"""Pairs of `user_id` and `sku_id`; those of a user are ordered best first."""


@dataclass(frozen=True)
class PredictionScores:
    """Metrics of each user of the truth.

    Attributes:
        names: Names of the metrics.
        values: Metrics [users, metrics].
        without: Number of users in the truth who have no predictions; they count as 0.
        unasked: Number of users with predictions who are not in the truth; they do not count.
    """

    names: tuple[str, ...]
    values: Array
    without: int
    unasked: int

    @property
    def users(self) -> int:
        """Number of users in the truth."""
        return len(self.values)

    @property
    def means(self) -> dict[str, float]:
        """Means over users by metric name, not rounded."""
        return dict(zip(self.names, self.values.mean(0).tolist(), strict=True))

    @property
    def errors(self) -> dict[str, float]:
        """Standard errors of the means by metric name, not rounded."""
        return dict(zip(self.names, standard_error(self.values).tolist(), strict=True))


def score(predictions: Pairs, truth: Pairs, cutoffs: Sequence[int]) -> PredictionScores:
    """Score predictions against the truth.

    Args:
        predictions: The recommended items; those of a user best first.
        truth: The items that each user wanted.
        cutoffs: The values of k in recall@k.

    Raises:
        DataError: The truth is empty.
    """
    wanted = {user: set(items) for user, items in _by_user(truth).items()}
    if not wanted:
        raise DataError("the truth contains no pair of a user and an item: there is nothing to score against")
    ranked = _by_user(predictions)
    values = np.array([of_ids(ranked.get(user, ()), items, cutoffs) for user, items in wanted.items()])
    without = sum(user not in ranked for user in wanted)
    return PredictionScores(names(cutoffs), values, without, len(ranked.keys() - wanted.keys()))


def _by_user(pairs: Pairs) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = {}
    for user, item in pairs:
        found.setdefault(user, []).append(item)
    return found
