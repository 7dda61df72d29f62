"""Scores lists of ids against what users did later: files that `client.py batch` wrote, or any other system's."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recmesh.errors import DataError
from recmesh.evaluation.metrics import Array, names, of_ids, standard_error

Pairs = Iterable[tuple[str, str]]
"""(user_id, sku_id), of one user best first."""


@dataclass(frozen=True)
class Scored:
    """Metrics of each user of the truth: `values` float [users, metrics], columns as in `names`.

    `without`: users of the truth without any prediction (they count as 0); `unasked`: predicted users that the truth
    does not hold (they do not count).
    """

    names: tuple[str, ...]
    values: Array
    without: int
    unasked: int

    @property
    def users(self) -> int:
        return len(self.values)

    @property
    def means(self) -> dict[str, float]:
        """Mean over users, not rounded."""
        return dict(zip(self.names, self.values.mean(0).tolist(), strict=True))

    @property
    def errors(self) -> dict[str, float]:
        """Standard error of the mean, not rounded."""
        return dict(zip(self.names, standard_error(self.values).tolist(), strict=True))


def score(predictions: Pairs, truth: Pairs, cutoffs: Sequence[int]) -> Scored:
    """Score predictions against the truth. Raises DataError when the truth is empty."""
    wanted = {user: set(items) for user, items in _by_user(truth).items()}
    if not wanted:
        raise DataError("the truth holds no pair of a user and an item: nothing to score against")
    ranked = _by_user(predictions)
    values = np.array([of_ids(ranked.get(user, ()), items, cutoffs) for user, items in wanted.items()])
    without = sum(user not in ranked for user in wanted)
    return Scored(names(cutoffs), values, without, len(ranked.keys() - wanted.keys()))


def _by_user(pairs: Pairs) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = {}
    for user, item in pairs:
        found.setdefault(user, []).append(item)
    return found
