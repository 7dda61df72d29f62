"""The retriever: the channels and the merge of a release."""

from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache, partial

import numpy as np

from recmesh.features.encoder import Encoder
from recmesh.features.spec import Channel, Floats, Ints, Mask, Segment
from recmesh.features.statistics import Lists
from recmesh.features.user import NO_ITEMS, User
from recmesh.retrieval.channels import bought_before, neighbours, new, popular, popular_for, trending, two_tower
from recmesh.retrieval.merge import Merged, merge
from recmesh.retrieval.scenarios import LIST_CHANNELS, ListScenario, Scenarios, listed_with, repeat_inputs
from recmesh.retrieval.scored import Scored, best, fuse

IN_MEMORY = ("neighbours", "popular", "bought_before", "new", "trending")
"""The channels that need no server: all but `two_tower`."""

STAND_INS = 5
"""A context item without a list is represented by this many of the items that have one."""

MAX_REPRESENTED = 10
"""Only so many context items without a list are represented by others: each takes a search of all items."""

_NO_RATES = Scored.none()
_CACHED_PROFILES = 1024


class Retriever:
    """The channels in memory, and the merge with the quotas that training chose. Threads may share a retriever."""

    def __init__(self, encoder: Encoder, scenarios: Scenarios | None = None) -> None:
        """Retrieve from the release of `encoder`; without `scenarios`, for home alone."""
        self.encoder = encoder
        self.scenarios = scenarios or Scenarios()
        # Many users share a profile, above all those without one.
        self._popular_for = lru_cache(_CACHED_PROFILES)(partial(popular_for, encoder))

    @property
    def quotas(self) -> Mapping[Segment, Mapping[str, Channel]]:
        """For each segment the channels that serve it, each with its weight and depth."""
        return self.encoder.spec.channels

    def excluded(self, user: User, new_only: bool, exclude_ids: Sequence[str] = ()) -> Ints:
        """Return the numbers of the items that must not be recommended, ascending.

        They are `exclude_ids`, and all items of the history if the request wants only new items.
        """
        given = self.encoder.catalogue.encode(exclude_ids) if exclude_ids else NO_ITEMS
        seen = user.seen if new_only or not self.encoder.spec.repeats else NO_ITEMS
        return np.unique(np.concatenate([given[given >= 0], seen]))

    def in_memory(
        self,
        user: User,
        want: Sequence[str],
        exclude: Ints = NO_ITEMS,
        depth: int | None = None,
        new_only: bool = False,
        user_vector: Floats | None = None,
        allowed: Mask | None = None,
        rates: Scored = _NO_RATES,
    ) -> dict[str, Scored]:
        """Return the results of channels in memory.

        Args:
            user: The user.
            want: The names of the channels. Those that are not in `IN_MEMORY` are skipped.
            exclude: int32, items to leave out.
            depth: How many items a channel returns at most; by default its quota.
            new_only: Whether the request wants only items that are new to the user.
            user_vector: float32 [dim]. Without it, there are no items of the channel `new`.
            allowed: For each item of the catalogue whether a filter lets it pass; None without a filter.
            rates: Items by their rates of actions, for the channel `trending`.
        """
        quotas = self.quotas[self.encoder.segment(user, new_only)]
        return {
            name: self._channel(
                name, user, exclude, depth or quotas.get(name, Channel()).depth, user_vector, allowed, rates
            )
            for name in want
            if name in IN_MEMORY
        }

    def exact(
        self,
        user: User,
        user_vector: Floats,
        item_vectors: Floats,
        exclude: Ints,
        new_only: bool,
        rates: Scored = _NO_RATES,
    ) -> dict[str, Scored]:
        """Return the results of all channels of the user's segment, with an exact two-tower search.

        Apart from the approximation of the index, recall gets the same results.

        Args:
            user: The user.
            user_vector: float32 [dim].
            item_vectors: float32 [items, dim].
            exclude: int32, items to leave out.
            new_only: Whether the request wants only new items.
            rates: Items by their rates of actions, for the channel `trending`.
        """
        quotas = self.quotas[self.encoder.segment(user, new_only)]
        found = self.in_memory(user, tuple(quotas), exclude, new_only=new_only, user_vector=user_vector, rates=rates)
        if "two_tower" not in quotas:
            return found
        nearest = two_tower(self.encoder, user_vector, item_vectors, exclude, quotas["two_tower"].depth)
        return {"two_tower": nearest} | found

    def merge(self, channels: Mapping[str, Scored], segment: Segment, size: int | None = None) -> Merged:
        """Merge channels by the quotas of a segment.

        Args:
            channels: The result of each channel.
            segment: The segment of the request.
            size: How many items to return at most; by default the number of candidates that the ranker is trained on.
        """
        return merge(channels, self.quotas[segment], size or self.encoder.spec.candidates, self.encoder.scratch)

    def represented(self, scenario: ListScenario, context: Ints, vectors: Floats) -> Ints:
        """Return items with lists that represent context items, int32, distinct.

        An item with a list represents itself. The nearest items, by the cosine of the tower's vectors, represent an
        item without one; see `MAX_REPRESENTED`.

        Args:
            scenario: Whose lists.
            context: int32, catalogue items.
            vectors: float32 [n, dim] of the item tower, of context items outside the catalogue.
        """
        starts = self.scenarios.lists[scenario].start
        listed = starts[context + 1] > starts[context]
        nearest: list[Ints] = []
        if self.encoder.item_vectors.size:
            unlisted = np.concatenate([self.encoder.item_vectors[context[~listed]], vectors])
            nearest = [self._nearest(vector, np.diff(starts) > 0) for vector in unlisted[:MAX_REPRESENTED]]
        return np.unique(np.concatenate([context[listed], *nearest]))

    def going_with(
        self, scenario: ListScenario, context: Ints, exclude: Ints, allowed: Mask | None = None
    ) -> dict[str, Scored]:
        """Return the results of the channels of a scenario with context items.

        Args:
            scenario: The scenario.
            context: int32, distinct catalogue items; see `represented`.
            exclude: int32, items to leave out.
            allowed: For each item of the catalogue whether a filter lets it pass; None without a filter.
        """
        encoder, quotas = self.encoder, self.scenarios.settings.lists[scenario].channels
        found = {}
        for name, quota in quotas.items():
            if name == "popular":
                found[name] = popular(encoder, self._popular_for(self._no_profile), exclude, quota.depth, allowed)
            else:
                parts = self._lists(scenario, name)
                ranked = [
                    (1.0, listed_with(part, context, exclude, quota.depth, encoder.scratch, allowed)) for part in parts
                ]
                found[name] = fuse(ranked, quota.depth, encoder.scratch) if len(ranked) > 1 else ranked[0][1]
        return found

    def acted_on_again(self, user: User, exclude: Ints, depth: int, allowed: Mask | None = None) -> Scored:
        """Return the items of the history, in the order in which the user may act on them again.

        Args:
            user: The user.
            exclude: int32, items to leave out.
            depth: How many items to return at most.
            allowed: For each item of the catalogue whether a filter lets it pass; None without a filter.
        """
        settings = self.scenarios.settings.repeat
        if settings is None or not settings.weights:
            return bought_before(self.encoder, user, exclude, depth, allowed)
        inputs = repeat_inputs(user, self.encoder.statistics, self.scenarios.intervals)
        scores = inputs @ np.array(settings.weights, np.float32)
        return best(user.owned.items, scores, depth, self.encoder.scratch, exclude, allowed=allowed)

    def _lists(self, scenario: ListScenario, channel: str) -> tuple[Lists, ...]:
        if channel == LIST_CHANNELS[scenario]:
            return (self.scenarios.lists[scenario],)
        return self.encoder.statistics.ridge, self.encoder.statistics.cosine

    def _nearest(self, vector: Floats, listed: Mask) -> Ints:
        """Return the items with the highest cosines, of those that are listed (bool [items])."""
        # The last dimension is the popularity of the item, which does not say what it is.
        cosines = self.encoder.item_vectors[:-1, :-1] @ vector[:-1] / self._vector_lengths
        items = np.flatnonzero(listed).astype(np.int32)
        return best(items, cosines[listed], STAND_INS, self.encoder.scratch).items

    @cached_property
    def _vector_lengths(self) -> Floats:
        """The length of each item's vector without its last dimension, float32 [items]."""
        vectors = self.encoder.item_vectors[:-1, :-1]
        lengths: Floats = np.sqrt((vectors**2).sum(1))
        lengths[lengths == 0] = 1
        return lengths

    @cached_property
    def _no_profile(self) -> bytes:
        """The codes of a user of whom nothing is known."""
        return self.encoder.user({}).codes.tobytes()

    def _channel(
        self,
        name: str,
        user: User,
        exclude: Ints,
        depth: int,
        user_vector: Floats | None,
        allowed: Mask | None,
        rates: Scored,
    ) -> Scored:
        if name == "neighbours":
            return neighbours(self.encoder, user, exclude, depth, allowed)
        if name == "popular":
            return popular(self.encoder, self._popular_for(user.codes.tobytes()), exclude, depth, allowed)
        if name == "trending":
            return trending(rates, exclude, depth, allowed)
        if name == "new":
            return Scored.none() if user_vector is None else new(self.encoder, user_vector, exclude, depth, allowed)
        return bought_before(self.encoder, user, exclude, depth, allowed)
