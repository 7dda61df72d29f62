"""Who asks: the profile as codes and the history as arrays, with what several features need of it computed once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from recmesh import kernels
from recmesh.features.spec import Array, Floats, Ints, Longs
from recmesh.kernels import Owned, Scratch

NO_ITEMS: Ints = np.empty(0, np.int32)
NO_PROFILE: Mapping[str, str] = {}


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
class User:
    """A user as the models see it. codes int32 [user fields]; `now` in ms: the later of the release's `as_of` and the
    newest action.

    `recency`: weight of a history item for each step back. `type_weights`: weight of each kind of action, at most 1.
    `profile`: the fields' own texts, and under `user_id` the id, for models from elsewhere.
    `scratch`: of the encoder. `memory`: what an encoder has computed of this user and will need again.
    """

    codes: Ints
    history: History
    now: int
    recency: float
    type_weights: Floats
    scratch: Scratch = field(repr=False, compare=False)
    profile: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    memory: dict[str, object] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def owned(self) -> Owned:
        """The distinct items of the history."""
        history = self.history
        return kernels.owned(
            history.items, history.times, history.types, self.type_weights, self.recency, self.now, self.scratch
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
        return User(self.codes, History.empty(), self.now, self.recency, self.type_weights, self.scratch, self.profile)


def newest_first(items: Ints, times: Longs, types: Array, values: Array, keep: int) -> History:
    """A history from actions in any order: newest first, at most `keep` of them in detail, the others' items in
    `older`."""
    order = np.argsort(-times, kind="stable")
    head, tail = order[:keep], order[keep:]
    kinds, amounts = np.asarray(types, np.int8), np.asarray(values, np.float32)
    older = np.unique(items[tail]).astype(np.int32)
    return History(items[head], times[head], kinds[head], amounts[head], older)
