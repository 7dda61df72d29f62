"""The retriever: the channels and the merge of a release."""

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial

import numpy as np

from recmesh.features.encoder import Encoder
from recmesh.features.spec import Channel, Floats, Ints, Mask, Segment
from recmesh.features.user import NO_ITEMS, User
from recmesh.retrieval.channels import bought_before, neighbours, new, popular, popular_for, two_tower
from recmesh.retrieval.merge import Merged, merge
from recmesh.retrieval.scored import Scored

IN_MEMORY = ("neighbours", "popular", "bought_before", "new")
"""The channels that need no server: all but `two_tower`."""

_CACHED_PROFILES = 1024


class Retriever:
    """The channels in memory, and the merge with the quotas that training chose. Threads may share a retriever."""

    def __init__(self, encoder: Encoder) -> None:
        """Retrieve from the release of `encoder`."""
        self.encoder = encoder
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
        """
        quotas = self.quotas[self.encoder.segment(user, new_only)]
        return {
            name: self._channel(name, user, exclude, depth or quotas.get(name, Channel()).depth, user_vector, allowed)
            for name in want
            if name in IN_MEMORY
        }

    def exact(
        self, user: User, user_vector: Floats, item_vectors: Floats, exclude: Ints, new_only: bool
    ) -> dict[str, Scored]:
        """Return the results of all channels of the user's segment, with an exact two-tower search.

        Apart from the approximation of the index, recall gets the same results.

        Args:
            user: The user.
            user_vector: float32 [dim].
            item_vectors: float32 [items, dim].
            exclude: int32, items to leave out.
            new_only: Whether the request wants only new items.
        """
        quotas = self.quotas[self.encoder.segment(user, new_only)]
        found = self.in_memory(user, tuple(quotas), exclude, new_only=new_only, user_vector=user_vector)
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

    def _channel(
        self,
        name: str,
        user: User,
        exclude: Ints,
        depth: int,
        user_vector: Floats | None,
        allowed: Mask | None,
    ) -> Scored:
        if name == "neighbours":
            return neighbours(self.encoder, user, exclude, depth, allowed)
        if name == "popular":
            return popular(self.encoder, self._popular_for(user.codes.tobytes()), exclude, depth, allowed)
        if name == "new":
            return Scored.none() if user_vector is None else new(self.encoder, user_vector, exclude, depth, allowed)
        return bought_before(self.encoder, user, exclude, depth, allowed)
