"""The depth and weight of each channel, chosen from its results."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from jobs.train.selection.quotas import quotas
from recmesh.evaluation import Decision
from recmesh.features.spec import Channel
from recmesh.kernels import Scratch
from recmesh.retrieval import Scored

_WANTED = np.arange(10, dtype=np.int32)
_NOTHING = Scored.none()


def _found(users: int, **channels: tuple[int, int]) -> Any:
    """Return results for users who want the items 0 to 9.

    Each channel is given as two numbers: its results begin with so many other items, then so many wanted items, and end
    with other items again.
    """
    rng = np.random.default_rng(3)

    def scored(before: int, wanted: int, base: int) -> Scored:
        others = base + rng.permutation(300)
        items = np.concatenate([others[:before], rng.permutation(10)[:wanted], others[before:]]).astype(np.int32)
        return Scored(items, np.linspace(1, 0, len(items), dtype=np.float32))

    return [
        SimpleNamespace(
            channels={name: scored(*gives, 1000 * number) for number, (name, gives) in enumerate(channels.items(), 1)},
            wanted=_WANTED,
            excluded=np.empty(0, np.int32),
        )
        for _ in range(users)
    ]


def _quotas(rates: Scored = _NOTHING, **channels: tuple[int, int]) -> tuple[dict[str, Channel], tuple[Decision, ...]]:
    return quotas(_found(60, **channels), tuple(channels), 400, Scratch(4000), rates)


def test_a_channel_with_earlier_hits_gets_more_weight() -> None:
    weighed, (_, weights) = _quotas(two_tower=(20, 8), popular=(0, 8))
    assert weighed["popular"].weight > weighed["two_tower"].weight
    assert weights.chosen == ", ".join(f"{name} {channel.weight:g}" for name, channel in weighed.items())
    objectives = list(weights.tried.values())
    assert objectives == sorted(objectives) and objectives[-1] > objectives[0]


def test_equally_good_channels_get_equal_quotas() -> None:
    weighed, _ = _quotas(two_tower=(0, 5), popular=(0, 5))
    assert weighed["two_tower"] == weighed["popular"]


def test_a_weak_two_tower_channel_contributes_its_first_items_only() -> None:
    weighed, (depth, _) = _quotas(two_tower=(0, 2), popular=(0, 9))
    assert (weighed["two_tower"].depth, weighed["popular"].depth) == (50, 180)
    assert depth.chosen == "the best 50"


def _rated(*items: int) -> Scored:
    return Scored(np.array(items, np.int32), np.linspace(9, 1, len(items), dtype=np.float32))


def test_trending_items_take_part_if_they_are_what_users_want() -> None:
    before, decisions = _quotas(two_tower=(20, 8), popular=(0, 5))
    weighed, (*others, trending) = _quotas(_rated(*range(10), 3500), two_tower=(20, 8), popular=(0, 5))
    assert tuple(others) == decisions
    assert {name: channel for name, channel in weighed.items() if name != "trending"} == before
    assert weighed["trending"].depth == 50
    assert trending.chosen == f"{weighed['trending'].weight:g}" == max(trending.tried, key=lambda w: trending.tried[w])
    assert trending.tried["without"] == max(decisions[1].tried.values())


def test_other_trending_items_change_nothing() -> None:
    before = _quotas(two_tower=(20, 8), popular=(0, 5))
    assert _quotas(_rated(*range(3500, 3600)), two_tower=(20, 8), popular=(0, 5)) == before
    assert _quotas(_rated(3500), two_tower=(20, 8), popular=(0, 5)) == before
