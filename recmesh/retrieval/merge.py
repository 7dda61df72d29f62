"""One list out of many: weighted reciprocal-rank fusion, which needs no scores that compare between channels."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from recmesh.features.spec import Channel, Floats, Ints, Longs
from recmesh.kernels import Scratch
from recmesh.retrieval.scored import Scored, fuse


@dataclass(frozen=True)
class Merged:
    """items int32 [n], distinct, best first; scores float32 [n], descending; `given`: what each channel gave."""

    items: Ints
    scores: Floats
    given: Mapping[str, Scored]

    @cached_property
    def channels(self) -> dict[str, tuple[Longs, Floats]]:
        """For each channel the positions int64 of its items in `items`, and its own scores of them."""
        order = np.argsort(self.items)
        return {name: self._placed(order, scored) for name, scored in self.given.items()}

    def _placed(self, order: Longs, scored: Scored) -> tuple[Longs, Floats]:
        kept = np.isin(scored.items, self.items)
        return order[np.searchsorted(self.items, scored.items[kept], sorter=order)], scored.scores[kept]


def merge(channels: Mapping[str, Scored], quotas: Mapping[str, Channel], size: int, scratch: Scratch) -> Merged:
    """Merge the channels by their quotas (a channel without one counts once and whole), cut at `size`."""
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
