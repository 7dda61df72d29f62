"""Who asks: the profile as codes and the history as arrays, with what several features need of it computed once."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from recmesh.features.spec import DAY, Array, Floats, Ints, Longs

NO_ITEMS: Ints = np.empty(0, np.int32)


@dataclass(frozen=True)
class History:
    """What a user did, newest first: entry k of each array is action k.

    items int32 (-1: not in the catalogue), times int64 (ms UTC), types int8 (index of the spec's action types, -1:
    none of
    them), values float32; older int32: items acted on before all these, without detail.
    """

    items: Ints
    times: Longs
    types: "np.ndarray[tuple[int], np.dtype[np.int8]]"
    values: Floats
    older: Ints

    @classmethod
    def empty(cls) -> "History":
        return cls(NO_ITEMS, np.empty(0, np.int64), np.empty(0, np.int8), np.empty(0, np.float32), NO_ITEMS)


@dataclass(frozen=True)
class Owned:
    """The distinct items of a history that the catalogue holds, the newest first.

    items int32; days float32: age of the newest action on each in days; steps float32: how many of the user's moments
    came
    after it; counts float32: the number of moments with it; weights float32: by recency in the user's own order and
    by kind
    of action; strength float32: the largest weight among its actions' kinds, in (0, 1].
    """

    items: Ints
    days: Floats
    steps: Floats
    counts: Floats
    weights: Floats
    strength: Floats


@dataclass(frozen=True)
class User:
    """A user as the models see it. codes int32 [user fields]; `now` in ms: the later of the release's `as_of` and the
    newest action.

    `recency`: weight of a history item for each step back. `type_weights`: weight of each kind of action, at most 1.
    `memory`: what an encoder has computed of this user and will need again.
    """

    codes: Ints
    history: History
    now: int
    recency: float
    type_weights: Floats
    memory: dict[str, object] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def owned(self) -> Owned:
        known = self.history.items >= 0
        items = self.history.items[known]
        times = self.history.times[known]
        if not len(items):
            none = np.empty(0, np.float32)
            return Owned(NO_ITEMS, none, none, none, none, none)
        moment = np.zeros(len(items), np.int64)
        np.cumsum(times[1:] != times[:-1], out=moment[1:])
        distinct, first, inverse = np.unique(items, return_index=True, return_inverse=True)
        pairs = np.unique(inverse.astype(np.int64) * (moment[-1] + 1) + moment)
        counts = np.bincount(pairs // (moment[-1] + 1), minlength=len(distinct))
        strength = np.zeros(len(distinct), np.float32)
        np.maximum.at(strength, inverse, self.type_weights[self.history.types[known]])
        order = np.argsort(first, kind="stable")
        first, strength = first[order], strength[order]
        steps = moment[first].astype(np.float32)
        return Owned(
            items=distinct[order],
            days=((self.now - times[first]) / DAY).astype(np.float32),
            steps=steps,
            counts=counts[order].astype(np.float32),
            weights=(self.recency**steps * strength).astype(np.float32),
            strength=strength,
        )

    @cached_property
    def moments(self) -> int:
        """The number of distinct times in the history."""
        times = self.history.times
        return int((times[1:] != times[:-1]).sum()) + 1 if len(times) else 0

    @cached_property
    def seen(self) -> Ints:
        """All catalogue items that the user ever acted on, distinct."""
        both = np.concatenate([self.history.items, self.history.older])
        return np.unique(both[both >= 0]).astype(np.int32)

    def forget(self) -> "User":
        """The same user without any history."""
        return User(self.codes, History.empty(), self.now, self.recency, self.type_weights)


def newest_first(items: Ints, times: Longs, types: Array, values: Array, keep: int) -> History:
    """A history from actions in any order: newest first, at most `keep` of them in detail, the others' items in
    `older`."""
    order = np.argsort(-times, kind="stable")
    head, tail = order[:keep], order[keep:]
    kinds, amounts = np.asarray(types, np.int8), np.asarray(values, np.float32)
    older = np.unique(items[tail]).astype(np.int32)
    return History(items[head], times[head], kinds[head], amounts[head], older)
