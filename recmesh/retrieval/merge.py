"""The merge of channels by weighted reciprocal-rank fusion. Channels need no comparable scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from recmesh.features.spec import Channel, Floats, Ints, Longs
from recmesh.kernels import Scratch
from recmesh.retrieval.scored import Scored, fuse

RESERVED_SHARE = 0.05
"""The part of a merged list that channels with weight 0 get at least."""


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

    Items of channels with weight 0 follow those of all others. They get the places that the others leave, and at least
    `RESERVED_SHARE` of the list.

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
    parts = list(zip(weights, given.values(), strict=True))
    fused = [part for part in parts if part[0]]
    found = fuse(fused, size, scratch) if fused else Scored.none()
    last = [scored for weight, scored in parts if not weight]
    return Merged(*_with_last(found, last, size), given)


def below(scores: Floats, count: int) -> Floats:
    """Return falling positive scores below those of a list, float32 [count]."""
    lowest = scores[-1] if len(scores) else np.float32(1)
    falling: Floats = (lowest / np.arange(2, count + 2)).astype(np.float32)
    return falling


def _with_last(found: Scored, last: Sequence[Scored], size: int) -> tuple[Ints, Floats]:
    """Put items at the end of a list of at most `size` items."""
    items = np.concatenate([found.items[:0], *(scored.items for scored in last)])
    places = min(max(size - len(found.items), int(size * RESERVED_SHARE)), len(items))
    kept = min(len(found.items), size - places)
    items, first = np.unique(items[~np.isin(items, found.items[:kept])], return_index=True)
    items = items[np.argsort(first)][: size - kept]
    scores = found.scores[:kept]
    return np.concatenate([found.items[:kept], items]), np.concatenate([scores, below(scores, len(items))])
