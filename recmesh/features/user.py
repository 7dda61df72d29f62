"""A user as the models see it: the profile as codes and the history as arrays."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from recmesh import kernels
from recmesh.features.spec import Array, Floats, Ints, Longs
from recmesh.kernels import Owned, Scratch
from recmesh.values import ActionWeights

NO_ITEMS: Ints = np.empty(0, np.int32)
NO_PROFILE: Mapping[str, str] = {}


@dataclass(frozen=True)
class History:
    """The actions of a user, newest first. Row k of every column but `older` belongs to action k.

    At most 500 actions are stored in detail; `older` has the items of all earlier ones. Actions with the same time stay
    in the order of the data set.

    Attributes:
        items: int32, item numbers; -1 for an item outside the catalogue.
        times: int64, milliseconds UTC.
        types: int8, index in `FeatureSpec.action_types`; -1 for an unknown type.
        values: float32.
        older: int32, numbers of the items of older actions, without further columns.
    """

    items: Ints
    times: Longs
    types: "np.ndarray[tuple[int], np.dtype[np.int8]]"
    values: Floats
    older: Ints

    @classmethod
    def empty(cls) -> "History":
        """Return a history without actions."""
        return cls(NO_ITEMS, np.empty(0, np.int64), np.empty(0, np.int8), np.empty(0, np.float32), NO_ITEMS)


@dataclass(frozen=True)
class User:
    """A user as the models see it.

    Attributes:
        codes: int32 [user fields]; 0 stands for a missing value, 1 for a value outside the vocabulary.
        history: What the user did.
        now: The time of the request in milliseconds: the later of the release's `as_of` and the newest action. It
            never comes from the wall clock, so that requests can be replayed.
        recency: The factor by which the weight of a history item falls with each later time of an action.
        action_weights: Computes the weights of the actions.
        scratch: The scratch memory of the encoder.
        profile: The fields as text, and the id as `user_id`, for imported models.
        memory: Results that an encoder has computed for this user and needs again.
    """

    codes: Ints
    history: History
    now: int
    recency: float
    action_weights: ActionWeights
    scratch: Scratch = field(repr=False, compare=False)
    profile: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    memory: dict[str, object] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def owned(self) -> Owned:
        """The distinct items with a positive action in the history, newest first, with their ages and weights."""
        history = self.history
        weights = self.action_weights(history.items, history.times, history.types, history.values)
        return kernels.owned(history.items, history.times, weights, self.recency, self.now, self.scratch)

    @cached_property
    def distinct_times(self) -> int:
        """The number of distinct times in the history: actions at one time count as one visit."""
        times = self.history.times
        return int((times[1:] != times[:-1]).sum()) + 1 if len(times) else 0

    @cached_property
    def seen(self) -> Ints:
        """The distinct catalogue items int32 of all actions, ascending, older ones included."""
        both = np.concatenate([self.history.items, self.history.older])
        return np.unique(both[both >= 0]).astype(np.int32)

    def forget(self) -> "User":
        """Return the same user without a history."""
        return replace(self, history=History.empty(), memory={})


def newest_first(items: Ints, times: Longs, types: Array, values: Array, keep: int) -> History:
    """Make a history from actions in any order.

    Args:
        items: int32, item numbers.
        times: int64, milliseconds UTC.
        types: Indices of action types.
        values: The actions' values.
        keep: How many of the newest actions to keep in detail. Of the others, only the distinct items are kept.
    """
    order = np.argsort(-times, kind="stable")
    head, tail = order[:keep], order[keep:]
    kinds, amounts = np.asarray(types, np.int8), np.asarray(values, np.float32)
    older = np.unique(items[tail]).astype(np.int32)
    return History(items[head], times[head], kinds[head], amounts[head], older)
