"""Figures of one segment: the chain and the baselines, kinds of users, and the contributions of the channels."""

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
    CHAIN: "the served lists: merged channels, sorted by the ranker unless a simpler order is better",
    "merged": "the merged channels without the ranker",
    POPULARITY: "the most popular items of all time",
    "item_cf": "cosine neighbours of the history, then popular items",
    "ease": "EASE on the 100 best neighbours of each item, then popular items",
    "own_frequency": "the user's own items by number of actions, then popular items",
    "active": "the active release, on users whose labels it has not seen",
}
"""Descriptions of the systems."""

MIN_USERS = 30
"""Figures of fewer users are not shown."""

_HISTORY_QUANTILES = (1 / 3, 2 / 3, 0.9)
_HISTORY_NAMES = ("few", "some", "many", "heavy")


def chain_of(judged: Judged, observed: Observed) -> list[Ints]:
    """Return the lists of the chain, of at most 100 items each."""
    return [items[:LENGTH] for items in ranked(observed.found, judged.scores)]


def systems(chain: Sequence[Ints], observed: Observed) -> list[System]:
    """Evaluate the chain, the merge, every baseline and every channel alone on all held-out users of the segment."""
    found = observed.found
    lists: dict[str, Sequence[Ints]] = {"merged": [candidates.merged.items for candidates in found], **observed.others}
    abouts = {name: ABOUT[name] for name in lists}
    for name in _channel_names(observed):
        lists[f"channel {name}"] = [candidates.channels[name].items for candidates in found]
        abouts[f"channel {name}"] = "this channel alone"
    of_chain = values_of(chain, found)
    first = System(name=CHAIN, about=ABOUT[CHAIN], figures=figures(of_chain))
    return [first, *(_system(name, abouts[name], values_of(items, found), of_chain) for name, items in lists.items())]


def compared(chain: Sequence[Ints], observed: Observed) -> tuple[System | None, int]:
    """Compare the active release with the chain on the users with a fair comparison. Returns also their number."""
    numbers = [k for k, items in enumerate(observed.incumbent) if items is not None]
    if len(numbers) < MIN_USERS:
        return None, len(numbers)
    found = [observed.found[k] for k in numbers]
    theirs = values_of([items for items in observed.incumbent if items is not None], found)
    return _system("active", ABOUT["active"], theirs, values_of([chain[k] for k in numbers], found)), len(numbers)


def kinds(chain: Sequence[Ints], observed: Observed, clock: bool) -> list[Kind]:
    """Evaluate the chain and popularity by kind of user, and leave out kinds of fewer than 30 users.

    Args:
        chain: The lists of the chain.
        observed: The held-out lists.
        clock: Whether the split is by date, so that the days since the newest action are meaningful.
    """
    ours, popular = values_of(chain, observed.found), values_of(observed.others[POPULARITY], observed.found)
    return [
        Kind(name=name, users=int(mask.sum()), chain=figures(ours[mask]), popularity=figures(popular[mask]))
        for name, mask in _kinds(observed, clock)
        if mask.sum() >= MIN_USERS
    ]


def channel_parts(observed: Observed, quotas: Mapping[str, Channel]) -> list[ChannelPart]:
    """Return the share of the wanted items that each channel finds, and that it alone finds, as means over users."""
    names = _channel_names(observed)
    shares = {name: [_shares(candidates, name) for candidates in observed.found] for name in names}
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
    """Return mean and standard error of each metric: float [users, metrics] -> by metric."""
    mean, error = means(values), errors(values)
    return {name: Figure(mean=mean[name], error=error[name]) for name in mean}


def _system(name: str, about: str, values: Array, chain: Array) -> System:
    return System(name=name, about=about, figures=figures(values), gain=figures(chain - values))


def values_of(lists: Iterable[Ints], found: Sequence[Candidates]) -> Array:
    """Return the metrics of each user's list, float [users, metrics]."""
    return per_user((items, candidates.wanted) for items, candidates in zip(lists, found, strict=True))


def _channel_names(observed: Observed) -> list[str]:
    return list(dict.fromkeys(name for candidates in observed.found for name in candidates.channels))


def _shares(candidates: Candidates, name: str) -> tuple[float, float]:
    found = np.isin(candidates.wanted, candidates.channels[name].items)
    others = [scored.items for other, scored in candidates.channels.items() if other != name]
    alone = found & ~np.isin(candidates.wanted, np.concatenate(others)) if others else found
    return float(found.mean()), float(alone.mean())


def _kinds(observed: Observed, clock: bool) -> Iterable[tuple[str, Mask]]:
    if observed.owned.any():
        yield from _by_history(observed)
        if clock:
            median = float(np.median(observed.idle))
            yield f"active in the last {median:.0f} days", observed.idle <= median
            yield f"inactive for more than {median:.0f} days", observed.idle > median
    if observed.gaps.any():
        yield "complete profile", observed.gaps == 0
        yield "incomplete profile", observed.gaps > 0


def _by_history(observed: Observed) -> Iterable[tuple[str, Mask]]:
    """Yield the users by items in their history: two thirds, the rest up to the 90th percentile, and the heaviest."""
    edges = [0, *np.quantile(observed.owned, _HISTORY_QUANTILES).astype(np.int64).tolist(), int(observed.owned.max())]
    for name, low, high in zip(_HISTORY_NAMES, edges[:-1], edges[1:], strict=True):
        if high > low:
            span = f"{low + 1:,} to {high:,}" if high > low + 1 else f"{high:,}"
            yield f"{name}: {span} items in the history", (observed.owned > low) & (observed.owned <= high)
