"""The served order: the ranker's, unless a simpler one is clearly better."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from jobs.train.selection import orders
from recmesh.features.spec import Segment
from recmesh.retrieval import Scored
from tests.train.serving import Serving, Stored


def _list(merged: list[int], popularity: list[float], **channels: list[int]) -> Any:
    def scored(items: list[int]) -> Scored:
        return Scored(np.array(items, np.int32), np.linspace(1, 0.5, len(items), dtype=np.float32))

    return SimpleNamespace(
        merged=scored(merged),
        dense=np.array(popularity, np.float32)[:, None],
        channels={name: scored(items) for name, items in channels.items()},
    )


def test_every_order_contains_the_same_candidates() -> None:
    candidates = _list([5, 3, 9, 1], [0.1, 0.4, 0.2, 0.3], popular=[9, 8, 5], two_tower=[])
    expected = {"merge": [5, 3, 9, 1], "popularity": [3, 1, 9, 5], "popular": [9, 5, 3, 1], "two_tower": [5, 3, 9, 1]}
    for order, items in expected.items():
        assert orders.ordered(candidates, order).tolist() == items
        assert candidates.merged.items[np.argsort(-orders.scores(candidates, order), kind="stable")].tolist() == items


def test_new_and_trending_items_lead_no_list() -> None:
    candidates = _list([5, 3, 9, 1], [0.1, 0.4, 0.2, 0.3], popular=[9, 8, 5], new=[1], trending=[3])
    candidates.wanted = np.array([3], np.int32)
    assert list(orders.simpler([candidates])) == ["merge", "popularity", "popular"]


@pytest.mark.parametrize(
    ("gains", "chosen"),
    [
        ({"merge": (0.0, 0.3), "popular": (-0.1, 0.3)}, "ranker"),
        ({"merge": (0.01, 0.3), "popular": (-0.1, 0.3)}, "ranker"),  # smaller than its standard error
        ({"merge": (0.05, 0.3), "popular": (-0.1, 0.3)}, "merge"),
        ({"merge": (0.05, 0.3), "popular": (0.06, 0.3), "two_tower": (0.06, 3.0)}, "popular"),
    ],
)
def test_a_simpler_order_must_beat_the_ranker_by_more_than_a_standard_error(
    gains: dict[str, tuple[float, float]], chosen: str
) -> None:
    users = 400
    ranker = np.random.default_rng(1).random((users, 3))
    noise = np.resize([1.0, -1.0], users)
    tried = {"ranker": ranker}
    for name, (mean, deviation) in gains.items():
        tried[name] = ranker + np.stack([mean + deviation * noise, np.zeros(users), np.zeros(users)], 1)
    decision = orders.decided([tried])
    assert decision.chosen == chosen
    assert set(decision.tried) == set(tried)


@pytest.mark.parametrize(
    ("early", "chosen"),
    [
        ((0.05, 0.0), "popular"),
        ((0.0, 0.0), "popular"),
        ((-0.01, 0.3), "popular"),  # lower by less than its standard error
        ((-0.05, 0.3), "ranker"),
    ],
)
def test_a_simpler_order_must_not_be_worse_at_any_cutoff(early: tuple[float, float], chosen: str) -> None:
    users = 400
    ranker, noise = np.random.default_rng(1).random((users, 3)), np.resize([1.0, -1.0], users)
    gains = {"held-out": np.full(users, 0.2), "early": early[0] + early[1] * noise}
    figures = [
        {"ranker": ranker, "popular": ranker + np.stack([gain, np.zeros(users), np.zeros(users)], 1)}
        for gain in gains.values()
    ]
    assert orders.decided(figures).chosen == chosen


@pytest.mark.parametrize("order", ["two_tower", "popular", "bought_before"])
async def test_serving_puts_the_chosen_channel_first(
    order: str, release: Path, shop_data: Path, tmp_path: Path
) -> None:
    served: dict[Segment, str] = {"cold": "ranker", "novel": "merge", "repeat": order}
    serving = Serving(release, lambda spec: orders.with_orders(spec, served))
    assert serving.encoder.spec.rankers == {"cold": True, "novel": False, "repeat": False}
    stored = Stored(shop_data, tmp_path / "rejects.csv")
    for user_id in list(stored.histories)[:10]:
        user, history = stored.users[user_id], stored.histories[user_id]
        alone = await serving.candidates(user, history, False, channel=order)
        found = await serving.candidates(user, history, False)
        depth = serving.encoder.spec.channels["repeat"][order].depth
        assert found[: len(alone[:depth])] == alone[:depth]
        assert len(found) > len(alone[:depth])
        assert [item for item, _ in await serving.ranked(user, history, False, found)] == found
