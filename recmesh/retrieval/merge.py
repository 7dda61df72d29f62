"""The merge of channels by weighted reciprocal-rank fusion. Channels need no comparable scores."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from recmesh.features.spec import Channel, Floats, Ints, Longs
from recmesh.kernels import Scratch
from recmesh.retrieval.scored import Scored, fuse


@dataclass(frozen=True)
class Merged:
    """The merged list.

    Attributes:
        items: int32 [n], distinct item numbers, best first.
        scores: float32 [n], the fused scores, descending.
        given: The part of each channel that took part in the merge.
    """

    items: Ints
    scores: Floats
    given: Mapping[str, Scored]

    @cached_property
    def channels(self) -> dict[str, tuple[Longs, Floats]]:
        """For each channel the positions int64 of its items in `items`, and the channel's scores for them."""
        order = np.argsort(self.items)
        return {name: self._placed(order, scored) for name, scored in self.given.items()}

    def _placed(self, order: Longs, scored: Scored) -> tuple[Longs, Floats]:
        kept = np.isin(scored.items, self.items)
        return order[np.searchsorted(self.items, scored.items[kept], sorter=order)], scored.scores[kept]


def merge(channels: Mapping[str, Scored], quotas: Mapping[str, Channel], size: int, scratch: Scratch) -> Merged:
    """Merge channels.

    Args:
        channels: The result of each channel.
        quotas: The weight and depth of each channel. A channel without a quota takes part completely, with weight 1.
        size: How many items to return at most.
        scratch: Scratch memory.
    """
    given, weights = {}, []
    for name, scored in channels.items():
        quota = quotas.get(name, Channel(depth=len(scored.items)))
        if len(scored.items) and quota.depth:
            given[name] = Scored(scored.items[: quota.depth], scored.scores[: quota.depth])
            weights.append(quota.weight)
    if not given:
        return Merged(np.empty(0, np.int32), np.empty(0, np.float32), {})
    found = fuse(list(zip(weights, given.values(), strict=True)), size, scratch)
    return Merged(found.items, found.scores, given)
