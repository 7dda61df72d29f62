"""Which items occur together: in a visit of a user, on a day, or in a history.

This is the signal of two scenarios. `related` counts what follows an item, and `basket` counts what is in the same
group, among actions of the strongest type only.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from jobs.train.data.prepare import Prepared
from recmesh.features.spec import DAY_MS, Floats, Ints, Longs, Mask
from recmesh.features.statistics import Lists
from recmesh.retrieval.scenarios import Formula, ListScenario

VISIT_GAP_MS = 30 * 60_000
"""A longer pause between two actions begins a new visit."""

GROUPS = ("visit", "day", "history")
"""The groups, from small to large: actions without a longer pause, actions of a day, and all actions of a user."""

MIN_ACCOMPANIED = 0.2
"""Groups are used if at least this share of their items have company. Otherwise, larger groups are tried."""

FOLLOWING = 10
"""An item is related to this many distinct items that follow it in its group."""

MAX_BASKET = 100
"""Items of one group that count as a basket, whose cost is quadratic in this number."""

LIST_LENGTH = 100
"""Longest list of an item."""

_BATCH_ITEMS = 4096
"""Items whose pairs are counted at once. It bounds memory and has no influence on the result."""


@dataclass(frozen=True)
class Case:
    """A held-out request: the context items int32, and the items int32 that the user went on to act on."""

    context: Ints
    wanted: Ints


@dataclass(frozen=True)
class Occurrences:
    """The distinct items of each group, in the order of their first actions.

    Attributes:
        scenario: What they are counted for.
        items: int32 [rows].
        groups: int64 [rows], ascending numbers from 0.
        users: int32 [rows].
        times: int64 [rows], ms since 1970.
        size: The number of items of the catalogue.
    """

    scenario: ListScenario
    items: Ints
    groups: Longs
    users: Ints
    times: Longs
    size: int

    @classmethod
    def of(cls, data: Prepared, rows: Longs, scenario: ListScenario, by: str) -> "Occurrences":
        """Group actions.

        Args:
            data: The data set.
            rows: int64, the actions, ascending. Those that do not count for the scenario are left out.
            scenario: What to count them for.
            by: One of `GROUPS`.
        """
        rows = rows[_counts_for(data, rows, scenario)]
        users, times = data.users[rows], data.times[rows]
        begins = np.ones(len(rows), np.bool_)
        begins[1:] = (users[1:] != users[:-1]) | _parted(times, by, data.spec.granularity)
        groups = np.cumsum(begins) - 1
        first = np.sort(np.unique(groups * len(data.catalogue) + data.items[rows], return_index=True)[1])
        return cls(scenario, data.items[rows][first], groups[first], users[first], times[first], len(data.catalogue))

    @property
    def accompanied(self) -> float:
        """The share of the items that have company in their group."""
        return float((np.bincount(self.groups)[self.groups] > 1).mean()) if len(self.groups) else 0.0

    def counts(self) -> Floats:
        """Return the number of groups of each item, float32 [items]."""
        return np.bincount(self.items, minlength=self.size).astype(np.float32)

    def pairs(self, sources: Longs) -> sparse.csr_matrix:
        """Count how often items go with each of some source items: csr float32 [len(sources), items].

        An item may go with itself; `best_of` leaves that out.
        """
        return self._together(sources) if self.scenario == "basket" else self._following(sources)

    def cases(self, rng: np.random.Generator, most: int) -> list[Case]:
        """Return requests with their answers, one of each of at most `most` users, so that they are independent.

        A case of `related` is an item with what follows it. A case of `basket` is a random half of a group with the
        other half.
        """
        size = np.bincount(self.groups)
        start = np.cumsum(size) - size
        rows = rng.permutation(np.flatnonzero(size[self.groups] > 1 if self.scenario == "basket" else self._has_next))
        cases: list[Case] = []
        for row in rows[np.sort(np.unique(self.users[rows], return_index=True)[1])].tolist():
            group = slice(start[self.groups[row]], start[self.groups[row]] + size[self.groups[row]])
            cases.append(self._half(group, rng) if self.scenario == "basket" else self._followed(row, group))
            if len(cases) == most:
                break
        return cases

    @property
    def _has_next(self) -> Mask:
        """Whether something follows each item in its group, bool [rows]."""
        same = self.groups[1:] == self.groups[:-1]
        following = np.zeros(len(self.items), np.bool_)
        following[:-1] = same
        following[1:] |= same & (self.times[1:] == self.times[:-1])
        return following

    def _half(self, group: slice, rng: np.random.Generator) -> Case:
        items = rng.permutation(self.items[group][:MAX_BASKET])
        return Case(items[: (len(items) + 1) // 2], items[(len(items) + 1) // 2 :])

    def _followed(self, row: int, group: slice) -> Case:
        after = slice(row + 1, min(group.stop, row + 1 + FOLLOWING))
        before = slice(max(group.start, row - FOLLOWING), row)
        at_once = self.items[before][self.times[before] == self.times[row]]
        return Case(self.items[row : row + 1], np.concatenate([self.items[after], at_once]))

    def _following(self, sources: Longs) -> sparse.csr_matrix:
        """Count the next items of the same group. Items of the same time follow each other."""
        number = np.full(self.size, -1, np.int64)
        number[sources] = np.arange(len(sources))
        rows = np.flatnonzero(number[self.items] >= 0)
        found = [(np.empty(0, np.int64), np.empty(0, np.int32))]
        for step in (*range(1, FOLLOWING + 1), *range(-FOLLOWING, 0)):
            at = rows[(rows + step >= 0) & (rows + step < len(self.items))]
            at = at[self.groups[at] == self.groups[at + step]]
            if step < 0:
                at = at[self.times[at] == self.times[at + step]]
            found.append((number[self.items[at]], self.items[at + step]))
        source, target = (np.concatenate(parts) for parts in zip(*found, strict=True))
        ones = np.ones(len(source), np.float32)
        return sparse.csr_matrix((ones, (source, target)), (len(sources), self.size))

    def _together(self, sources: Longs) -> sparse.csr_matrix:
        """Count the items of the same groups."""
        return (self._by_item[sources] @ self._by_group).tocsr()

    @cached_property
    def _by_group(self) -> sparse.csr_matrix:
        kept = np.arange(len(self.items)) - np.searchsorted(self.groups, self.groups) < MAX_BASKET
        groups, items = self.groups[kept], self.items[kept]
        shape = (int(groups.max(initial=-1)) + 1, self.size)
        return sparse.csr_matrix((np.ones(len(items), np.float32), (groups, items)), shape)

    @cached_property
    def _by_item(self) -> sparse.csr_matrix:
        return self._by_group.T.tocsr()


def smallest_groups(data: Prepared, rows: Longs, scenario: ListScenario) -> str:
    """Return the smallest groups in which enough items have company, one of `GROUPS`."""
    accompanied = ((by, Occurrences.of(data, rows, scenario, by).accompanied) for by in GROUPS)
    return next((by for by, share in accompanied if share >= MIN_ACCOMPANIED), GROUPS[-1])


def lists(occurrences: Occurrences, formulas: Sequence[Formula]) -> list[Lists]:
    """Make the lists of all items by each formula: the items that go with an item, with their scores."""
    counts = occurrences.counts()
    found: list[dict[int, tuple[Ints, Floats]]] = [{} for _ in formulas]
    for first in range(0, occurrences.size, _BATCH_ITEMS):
        sources = np.arange(first, min(first + _BATCH_ITEMS, occurrences.size))
        pairs = occurrences.pairs(sources)
        for formula, part in zip(formulas, found, strict=True):
            part.update(best_of(pairs, sources, counts, formula))
    return [joined(part, occurrences.size) for part in found]


def best_of(
    pairs: sparse.csr_matrix, sources: Longs, counts: Floats, formula: Formula
) -> Iterator[tuple[int, tuple[Ints, Floats]]]:
    """Yield each source item that has company, with its best items and their scores.

    Args:
        pairs: From `Occurrences.pairs`.
        sources: The items of its rows.
        counts: float32 [items], the number of groups of each item.
        formula: Makes scores of counts.
    """
    for row in np.flatnonzero(np.diff(pairs.indptr)).tolist():
        span, item = slice(pairs.indptr[row], pairs.indptr[row + 1]), int(sources[row])
        others = pairs.indices[span]
        scores = formula(pairs.data[span], counts[item], counts[others])
        scores[others == item] = 0
        if len(scores) > LIST_LENGTH:
            kept = np.argpartition(-scores, LIST_LENGTH)[:LIST_LENGTH]
            others, scores = others[kept], scores[kept]
        positive = scores > 0
        if positive.any():
            yield item, (others[positive], scores[positive])


def joined(found: Mapping[int, tuple[Ints, Floats]], size: int) -> Lists:
    """Join lists by source item, which ascend; `size` is the number of items of the catalogue."""
    lengths = np.zeros(size, np.int64)
    lengths[list(found)] = [len(items) for items, _ in found.values()]
    return Lists(
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.concatenate([np.empty(0, np.int32), *(items for items, _ in found.values())]),
        np.concatenate([np.empty(0, np.float32), *(scores for _, scores in found.values())]),
    )


def _counts_for(data: Prepared, rows: Longs, scenario: ListScenario) -> Mask:
    """Return which actions count: positive ones, and for `basket` only those of the strongest type."""
    counted: Mask = data.positive[rows]
    if scenario == "basket":
        counted &= data.types[rows] == int(np.argmax(list(data.spec.action_weights.values())))
    return counted


def _parted(times: Longs, by: str, granularity: int) -> Mask:
    """Return whether each action but the first begins a new group of the same user."""
    if by == "history":
        return np.zeros(max(len(times) - 1, 0), np.bool_)
    if by == "day":
        times, gap = times // DAY_MS, 0
    else:
        # Without times of day, the actions of a day are a visit.
        gap = 0 if granularity == DAY_MS else VISIT_GAP_MS
    parted: Mask = np.diff(times) > gap
    return parted
