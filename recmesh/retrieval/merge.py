"""One list out of many: weighted reciprocal-rank fusion, which needs no scores that compare between channels."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from recmesh.features.spec import Channel, Floats, Ints
from recmesh.retrieval.scored import Scored, fuse


@dataclass(frozen=True)
class Merged:
    """items int32 [n], distinct, best first; scores float32 [n], descending; channels: for each channel the positions
    int64 of its items in `items` and its own scores of them."""

    items: Ints
    scores: Floats
    channels: dict[str, tuple["np.ndarray[tuple[int], np.dtype[np.int64]]", Floats]]


def merge(channels: Mapping[str, Scored], quotas: Mapping[str, Channel], exclude: Collection[int], size: int) -> Merged:
    """Merge the channels by their quotas (a channel without one counts once and whole), leave out `exclude`, cut at
    `size`."""
    names, lists = [], []
    for name, scored in channels.items():
        quota = quotas.get(name, Channel(depth=len(scored.items)))
        kept = _without(scored, exclude)
        if len(kept.items) and quota.depth:
            names.append(name)
            lists.append((quota.weight, Scored(kept.items[: quota.depth], kept.scores[: quota.depth])))
    if not lists:
        return Merged(np.empty(0, np.int32), np.empty(0, np.float32), {})
    items, scores, inverse = fuse(lists)
    order = np.lexsort((items, -scores))
    position = np.empty(len(order), np.int64)
    position[order] = np.arange(len(order))
    found, start = {}, 0
    for name, (_, scored) in zip(names, lists, strict=True):
        places = position[inverse[start : start + len(scored.items)]]
        start += len(scored.items)
        within = places < size
        found[name] = (places[within], scored.scores[within])
    return Merged(items[order[:size]], scores[order[:size]], found)


def _without(scored: Scored, exclude: Collection[int]) -> Scored:
    if not exclude:
        return scored
    allowed = np.fromiter((item not in exclude for item in scored.items.tolist()), np.bool_, len(scored.items))
    return scored if allowed.all() else Scored(scored.items[allowed], scored.scores[allowed])
