"""Retriever: the channels and the merge of one release."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from recmesh.features.encoder import Encoder
from recmesh.features.spec import Channel, Floats, Ints, Segment
from recmesh.features.user import NO_ITEMS, User
from recmesh.retrieval.channels import bought_before, neighbours, popular, two_tower
from recmesh.retrieval.merge import Merged, merge
from recmesh.retrieval.scored import Scored

IN_MEMORY: dict[str, Callable[[Encoder, User, Ints, int], Scored]] = {
    "neighbours": neighbours,
    "popular": popular,
    "bought_before": bought_before,
}
"""Every channel but `two_tower`."""


class Retriever:
    """Channels in memory, and the merge with the quotas that training fitted. Safe to share between threads."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder

    @property
    def quotas(self) -> Mapping[Segment, Mapping[str, Channel]]:
        """For each segment the channels that serve it, each with its weight and depth."""
        return self.encoder.spec.channels

    def excluded(self, user: User, new_only: bool, exclude_ids: Sequence[str] = ()) -> Ints:
        """Numbers of the items that must not come: `exclude_ids`, and all that the user acted on where only new ones
        are wanted."""
        asked = self.encoder.catalogue.encode(exclude_ids) if exclude_ids else NO_ITEMS
        seen = user.seen if new_only or not self.encoder.spec.repeats else NO_ITEMS
        return np.unique(np.concatenate([asked[asked >= 0], seen]))

    def in_memory(
        self,
        user: User,
        want: Sequence[str],
        exclude: Ints = NO_ITEMS,
        depth: int | None = None,
        new_only: bool = False,
    ) -> dict[str, Scored]:
        """Ask the channels `want` (those that live elsewhere are passed over): at most `depth` items each, else as
        the quotas say."""
        quotas = self.quotas[self.encoder.segment(user, new_only)]
        return {
            name: IN_MEMORY[name](self.encoder, user, exclude, depth or quotas.get(name, Channel()).depth)
            for name in want
            if name in IN_MEMORY
        }

    def exact(
        self, user: User, user_vector: Floats, item_vectors: Floats, exclude: Ints, new_only: bool
    ) -> dict[str, Scored]:
        """Ask all channels that serve the user's segment, each as deep as its quota says: what recall finds, but for
        the approximation of its index. item_vectors: float32 [items, dim]."""
        quotas = self.quotas[self.encoder.segment(user, new_only)]
        found = self.in_memory(user, tuple(quotas), exclude, new_only=new_only)
        if "two_tower" not in quotas:
            return found
        nearest = two_tower(self.encoder, user_vector, item_vectors, exclude, quotas["two_tower"].depth)
        return {"two_tower": nearest} | found

    def merge(self, channels: Mapping[str, Scored], segment: Segment, size: int | None = None) -> Merged:
        """Merge by the quotas of the segment; at most `size` items (default: as many as the ranker is trained on)."""
        return merge(channels, self.quotas[segment], size or self.encoder.spec.candidates, self.encoder.scratch)
