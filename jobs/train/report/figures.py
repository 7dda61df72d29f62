"""Figures of one segment: systems against each other, kinds of users, parts of the channels."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from jobs.train.data.rows import Candidates, ranked
from jobs.train.report.baselines import LENGTH
from jobs.train.selection.held_out import Judged, Observed
from recmesh.evaluation import errors, means, per_user
from recmesh.evaluation.metrics import Array
from recmesh.evaluation.report import CHAIN, POPULARITY, ChannelPart, Figure, Figures, Kind, System
from recmesh.features.spec import Channel, Ints, Mask

ABOUT = {
    CHAIN: "what is served: the channels merged, then the ranker where it wins",
    "merged": "the channels merged, without the ranker",
    POPULARITY: "the most popular items of all time",
    "item_cf": "cosine neighbours of the history, then popularity",
    "ease": "EASE on the 100 best neighbours of each item, then popularity",
    "own_frequency": "the user's own items by frequency, then popularity",
    "active": "the active release, on the users whose labels it has not seen",
}

_LEAST = 30
_PARTS = (1 / 3, 2 / 3, 0.9)
_NAMES = ("few", "some", "many", "heavy")


def chain_of(judged: Judged, observed: Observed) -> list[Ints]:
    """The chain's lists, at most 100 items each."""
    return [items[:LENGTH] for items in ranked(observed.found, judged.scores)]


def systems(chain: Sequence[Ints], observed: Observed) -> list[System]:
    """The chain, the merged order, every baseline and every channel alone, on all held-out users of the segment."""
    found = observed.found
    lists: dict[str, Sequence[Ints]] = {"merged": [one.merged.items for one in found], **observed.others}
    abouts = {name: ABOUT[name] for name in lists}
    for name in dict.fromkeys(name for one in found for name in one.channels):
        lists[f"channel {name}"] = [one.channels[name].items for one in found]
        abouts[f"channel {name}"] = "this channel alone"
    of_chain = values_of(chain, found)
    first = System(name=CHAIN, about=ABOUT[CHAIN], figures=figures(of_chain))
    return [first, *(_system(name, abouts[name], values_of(one, found), of_chain) for name, one in lists.items())]


def compared(chain: Sequence[Ints], observed: Observed) -> tuple[System | None, int]:
    """The active release against the chain on the users for whom it was asked, and their number."""
    asked = [k for k, items in enumerate(observed.active) if items is not None]
    if len(asked) < _LEAST:
        return None, len(asked)
    found = [observed.found[k] for k in asked]
    theirs = values_of([items for items in observed.active if items is not None], found)
    return _system("active", ABOUT["active"], theirs, values_of([chain[k] for k in asked], found)), len(asked)


def kinds(chain: Sequence[Ints], observed: Observed, clock: bool) -> list[Kind]:
    """The chain and popularity by kind of user; kinds of fewer than 30 users are left out."""
    ours, popular = values_of(chain, observed.found), values_of(observed.others[POPULARITY], observed.found)
    return [
        Kind(name=name, users=int(mask.sum()), chain=figures(ours[mask]), popularity=figures(popular[mask]))
        for name, mask in _kinds(observed, clock)
        if mask.sum() >= _LEAST
    ]


def channel_parts(observed: Observed, quotas: Mapping[str, Channel]) -> list[ChannelPart]:
    """What each channel adds to the candidates: shares of the wanted items, as means over users."""
    names = list(dict.fromkeys(name for one in observed.found for name in one.channels))
    shares = {name: [_shares(one, name) for one in observed.found] for name in names}
    return [
        ChannelPart(
            name=name,
            weight=quotas[name].weight,
            depth=quotas[name].depth,
            found=float(np.mean([found for found, _ in shares[name]])),
            found_alone=float(np.mean([alone for _, alone in shares[name]])),
        )
        for name in names
    ]


def figures(values: Array) -> Figures:
    """Mean and standard error of each metric."""
    mean, error = means(values), errors(values)
    return {name: Figure(mean=mean[name], error=error[name]) for name in mean}


def _system(name: str, about: str, values: Array, chain: Array) -> System:
    return System(name=name, about=about, figures=figures(values), gain=figures(chain - values))


def values_of(lists: Iterable[Ints], found: Sequence[Candidates]) -> Array:
    """Metrics of each user's list, float [users, metrics]."""
    return per_user((items, one.wanted) for items, one in zip(lists, found, strict=True))


def _shares(one: Candidates, name: str) -> tuple[float, float]:
    mine = np.isin(one.wanted, one.channels[name].items)
    others = [scored.items for other, scored in one.channels.items() if other != name]
    alone = mine & ~np.isin(one.wanted, np.concatenate(others)) if others else mine
    return float(mine.mean()), float(alone.mean())


def _kinds(observed: Observed, clock: bool) -> Iterable[tuple[str, Mask]]:
    if observed.owned.any():
        yield from _by_history(observed)
        if clock:
            middle = float(np.median(observed.idle))
            yield f"back within {middle:.0f} days", observed.idle <= middle
            yield f"away for more than {middle:.0f} days", observed.idle > middle
    if observed.gaps.any():
        yield "profile complete", observed.gaps == 0
        yield "profile with gaps", observed.gaps > 0


def _by_history(observed: Observed) -> Iterable[tuple[str, Mask]]:
    """Thirds of the users by items in their history, the last one without the tenth with the longest."""
    edges = [0, *np.quantile(observed.owned, _PARTS).astype(np.int64).tolist(), int(observed.owned.max())]
    for name, low, high in zip(_NAMES, edges[:-1], edges[1:], strict=True):
        if high > low:
            span = f"{low + 1:,} to {high:,}" if high > low + 1 else f"{high:,}"
            yield f"{name}: {span} items in the history", (observed.owned > low) & (observed.owned <= high)
