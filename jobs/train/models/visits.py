"""The actions that the two-tower model is trained on: histories that are cut at random places, and what follows."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from jobs.train.data.prepare import Prepared
from jobs.train.models.tower_parameters import TwoTowerParameters
from recmesh.features.spec import Floats, Longs

NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Visits:
    """The actions of each user before a cut-off: all that count as a target, in the order of the data set.

    With repeats these are the actions at distinct times, because a user may want an item again; without, the first
    action on each item.

    Attributes:
        users: int64, users with at least one action.
        start: int64 [len(users) + 1]; the items of users[k] are start[k]:start[k + 1].
        items: int64.
        earlier: int64, the position of the user's previous action on the same item, -1 for none.
        later: int64, the position of the next one, or a large number.
        visit: int64, where a cut at each position is made: with visits, at the first action of the visit.
        weights: float32, the weight of each item as a target.
        parameters: The hyperparameters.
    """

    users: Longs
    start: Longs
    items: Longs
    earlier: Longs
    later: Longs
    visit: Longs
    weights: Floats
    parameters: TwoTowerParameters

    @classmethod
    def of(
        cls, data: Prepared, rows: Longs, weights: Floats, parameters: TwoTowerParameters, by_visit: bool
    ) -> "Visits":
        """Collect the actions of users.

        Args:
            data: The data set.
            rows: int64, the rows of the actions, ascending; see `positive`.
            weights: float32, their weights.
            parameters: The hyperparameters.
            by_visit: Whether a cut separates two visits; else it may lie anywhere.
        """
        pair = data.pairs(rows)
        before = _previous(pair)
        kept = (before < 0) | (data.spec.repeats & (data.times[rows] != data.times[rows[before]]))
        rows, earlier = rows[kept], _previous(pair[kept])
        by_value = data.spec.values is not None and data.spec.values.weighted
        later = np.full(len(rows), NEVER)
        later[earlier[earlier >= 0]] = np.flatnonzero(earlier >= 0)
        users, begin = np.unique(data.users[rows], return_index=True)
        place = np.arange(len(rows))
        same = (np.diff(data.users[rows], prepend=-1) == 0) & (np.diff(data.times[rows], prepend=-1) == 0)
        return cls(
            users=users.astype(np.int64),
            start=np.append(begin, len(rows)),
            items=data.items[rows].astype(np.int64),
            earlier=earlier,
            later=later,
            visit=np.maximum.accumulate(np.where(same, 0, place)) if by_visit else place,
            weights=weights[kept] if by_value else np.ones(len(rows), np.float32),
            parameters=parameters,
        )

    def batches(self, rng: np.random.Generator, steps: int) -> Iterator[Longs]:
        """Yield a batch of users for each step, and shuffle them again each time that all have been used."""
        size = min(self.parameters.batch_users, len(self.users))
        order: Longs = np.empty(0, np.int64)
        for _ in range(steps):
            if len(order) < size:
                order = rng.permutation(len(self.users))
            batch, order = order[:size], order[size:]
            yield self.users[batch]

    def rows(self, rng: np.random.Generator, users: Longs, length: int) -> tuple[Longs, Floats, Longs, Floats]:
        """Cut the actions of each user at a random place.

        With visits, the place is between two of them: a cut inside a visit teaches what goes into one basket, but
        requests ask for the next one.

        Args:
            rng: Draws the places.
            users: int64 [B].
            length: Longest history.

        Returns:
            The distinct items before the cut, int64 [B, H], newest first; their weights, float32 [B, H], 0 where there
            is no item; the distinct items after the cut, int64 [B, T], -1 where there is none; and their weights,
            float32 [B, T].
        """
        at = np.searchsorted(self.users, users)
        begin, end = self.start[at], self.start[at + 1]
        cut = begin + (rng.random(len(at)) * (end - begin)).astype(np.int64)
        cut = self.visit[cut]
        back = cut[:, None] - 1 - np.arange(length)
        warm = rng.random(len(at)) >= self.parameters.cold_share
        place = np.maximum(back, 0)
        present = (back >= begin[:, None]) & warm[:, None] & (self.later[place] >= cut[:, None])
        width = max(int(present.any(0).nonzero()[0].max(initial=0)) + 1, 1)
        history = np.where(present, self.items[place], 0)[:, :width]
        ahead = cut[:, None] + np.arange(self.parameters.targets)
        place = np.minimum(ahead, len(self.items) - 1)
        wanted = (ahead < end[:, None]) & (self.earlier[place] < cut[:, None])
        targets = np.where(wanted, self.items[place], -1)
        return history, present[:, :width].astype(np.float32), targets, self.weights[place]


def positive(data: Prepared, known: Longs) -> tuple[Longs, Floats]:
    """Return the rows of the actions before `known` that have a positive weight, int64, and these weights, float32."""
    rows = data.known(known)
    weights = data.weights_of(rows)
    return rows[weights > 0], weights[weights > 0]


def _previous(keys: Longs) -> Longs:
    """Return for each key the position of the same key before it, -1 if there is none."""
    order = np.argsort(keys, kind="stable")
    same = keys[order[1:]] == keys[order[:-1]]
    found = np.full(len(keys), -1, np.int64)
    found[order[1:][same]] = order[:-1][same]
    return found
