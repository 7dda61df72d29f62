"""recall follows the counts of actions, and offers the items that are acted on most."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import numpy as np
import pytest
from structlog.testing import capture_logs

from recmesh.contract import TRENDING
from recmesh.errors import Unavailable
from recmesh.features.spec import Channel
from recmesh.pb.user_info_pb2 import History, UserInfo
from recmesh.releases import NewItems
from recmesh.retrieval import Retriever
from recmesh.serving.compute_gate import ComputeGate
from recmesh.serving.drift import Drift
from recmesh.serving.stages import CandidateList, CandidateQuery, RequestUser
from recmesh.stores.counts import CountedAction
from services.recall.core import RecallCore, RecallRelease
from services.recall.item_fields import ItemFields
from services.recall.live_items import ChangedItems, LiveItems
from services.recall.new_items import LatestNewItems
from services.recall.trending import NOTHING, LiveCounts, Trending, follow
from tests.unit.clock import Clock
from tests.unit.features.toy import encoder

NOW = 6_000_000


class Reader:
    """Buckets as Redis holds them, and which of them were read."""

    def __init__(self) -> None:
        self.buckets: dict[int, dict[str, int]] = {}
        self.changes: dict[int, int] = {}
        self.read: list[int] = []
        self.failing = False

    def count(self, bucket: int, counts: Mapping[str, int], kind: str = "order") -> None:
        fields = {CountedAction(sku_id, kind, 1.0).field: number for sku_id, number in counts.items()}
        self.buckets[bucket] = self.buckets.get(bucket, {}) | fields
        self.changes[bucket] = max(self.changes.values(), default=0) + 1

    async def changed_counts(self, after: int, count: int) -> list[tuple[int, int]]:
        if self.failing:
            raise Unavailable("Redis is gone")
        found = sorted((change, bucket) for bucket, change in self.changes.items() if change > after)
        return [(bucket, change) for change, bucket in found[:count]]

    async def counts(self, bucket: int) -> dict[str, int]:
        self.read.append(bucket)
        return self.buckets[bucket]


class Shop:
    """A release with the items a, b, c, d and 00123, and the live item x."""

    def __init__(self) -> None:
        self.encoder, self.reader, self.counts, self.live = encoder(), Reader(), LiveCounts(), LiveItems()
        self.new_items = LatestNewItems(self.encoder, self.live)
        self.change(offered=["x"])
        self.trending = Trending(self.encoder, self.new_items, self.counts)

    def change(self, offered: Sequence[str] = (), withdrawn: Sequence[str] = ()) -> None:
        self.live.latest = ChangedItems({sku_id: {} for sku_id in offered}, frozenset(withdrawn))
        self.new_items.update()

    async def refresh(self) -> list[str]:
        await self.counts.refresh(self.reader)
        if self.trending.stale:
            self.trending.update()
        return list(self.trending.latest.sku_ids)

    async def recall(self, seen: Sequence[str] = (), **query: Any) -> CandidateList:
        encoded = self.encoder.user({"age": "1"}, list(seen))
        features: Any = SimpleNamespace(encode=lambda _: (encoded, np.array([1, 3, 1], np.float32)))
        unknown: Any = SimpleNamespace(count=lambda: None)
        vectors: Any = SimpleNamespace(search=AsyncMock(return_value=(["d"], np.ones(1, np.float32))))
        release = RecallRelease(
            self.encoder,
            Retriever(self.encoder),
            features,
            unknown,
            vectors,
            self.new_items,
            self.trending,
            Drift(self.encoder),
            AsyncMock(),
            ItemFields(self.encoder, self.new_items),
        )
        releases: Any = SimpleNamespace(get=lambda _="": ("one", release))
        user = RequestUser(UserInfo(user_id="7"), History(sku_ids=seen))
        return await RecallCore(releases, ComputeGate(), 1.0).recall(CandidateQuery(user, **query), 5.0)


async def busy_shop() -> Shop:
    shop = Shop()
    shop.reader.count(NOW, {"c": 1, "x": 5, "b": 2, "unknown": 9})
    assert await shop.refresh() == ["x", "b", "c"]
    return shop


async def test_damaged_counts_are_left_out() -> None:
    shop = Shop()
    shop.reader.buckets[NOW] = {"a": 9, "order\0much\0b": 9, "order\x001\0c": 1}
    shop.reader.changes[NOW] = 1
    assert await shop.refresh() == ["c"]


async def test_items_are_ranked_by_the_weights_of_the_release() -> None:
    """A view weighs a tenth of an order."""
    shop = Shop()
    shop.reader.count(NOW, {"a": 19}, "view")
    shop.reader.count(NOW, {"b": 2})
    assert await shop.refresh() == ["b", "a"]
    rates = shop.trending.latest.rates
    assert rates[1] == pytest.approx(rates[0] * 0.95)
    assert shop.trending.latest.items.tolist() == [1, 0]


async def test_only_changed_buckets_are_read_again() -> None:
    shop = Shop()
    shop.reader.count(NOW - 1, {"a": 1})
    shop.reader.count(NOW, {"b": 1})
    assert await shop.refresh() == ["b", "a"]
    shop.reader.count(NOW, {"b": 2})
    shop.reader.count(NOW + 1, {"c": 9})
    assert await shop.refresh() == ["c", "b", "a"]
    shop.reader.count(NOW - 1, {"a": 30})
    assert await shop.refresh() == ["a", "c", "b"]
    assert await shop.refresh() == ["a", "c", "b"]
    assert shop.reader.read == [NOW - 1, NOW, NOW, NOW + 1, NOW - 1]


async def test_a_restart_gives_the_same_ranking() -> None:
    shop, names = Shop(), ("a", "b", "c", "d", "00123", "x", "gone")
    for bucket in range(NOW, NOW + 400):
        shop.reader.count(bucket, {names[bucket % 7]: 1 + bucket % 3})
        await shop.refresh()
    again = Shop()
    again.reader = shop.reader
    shop.reader.changes = {bucket: change for bucket, change in shop.reader.changes.items() if bucket >= NOW + 112}
    await again.refresh()
    assert again.trending.latest.sku_ids == shop.trending.latest.sku_ids
    assert again.trending.latest.rates.tolist() == shop.trending.latest.rates.tolist()
    assert list(again.counts.latest.buckets) == list(shop.counts.latest.buckets) == list(range(NOW + 112, NOW + 400))


async def test_what_is_in_no_bucket_any_more_is_forgotten() -> None:
    shop = Shop()
    shop.reader.count(NOW, {f"old{number}": 1 for number in range(9)})
    shop.reader.count(NOW + 1, {"a": 2, "b": 1})
    assert await shop.refresh() == ["a", "b"]
    shop.reader.count(NOW + 288, {"c": 1})
    assert await shop.refresh() == ["c", "a", "b"]
    assert [action.sku_id for action in shop.counts.latest.actions] == ["a", "b", "c"]
    shop.reader.count(NOW + 288, {"c": 1, "d": 3})
    assert await shop.refresh() == ["d", "c", "a", "b"]


async def test_before_the_first_action_the_channel_is_empty() -> None:
    shop = Shop()
    assert await shop.refresh() == []
    assert shop.trending.latest is NOTHING
    assert list((await shop.recall(channel=TRENDING, size=9)).ids) == []
    popular = list((await shop.recall(channel="popular", size=9)).ids)
    assert sorted(popular) == ["00123", "a", "b", "c", "d"]
    assert list((await shop.recall(scenario=TRENDING, size=9)).ids) == popular


async def test_the_channel_has_items_of_the_catalogue_and_live_ones_alone() -> None:
    shop = await busy_shop()
    found = await shop.recall(channel=TRENDING, size=9)
    assert list(found.ids) == ["x", "b", "c"]
    assert list(found.unlisted) == ["x"]
    assert found.scores == pytest.approx([rate * found.scores[2] for rate in (5, 2, 1)])
    assert list((await shop.recall(channel=TRENDING, size=2)).ids) == ["x", "b"]


async def test_the_scenario_fills_the_list_with_popular_items_behind_them() -> None:
    shop = await busy_shop()
    found = await shop.recall(scenario=TRENDING, size=9, explain=True)
    assert list(found.ids) == ["x", "b", "c", "a", "d", "00123"]
    assert found.scores == sorted(found.scores, reverse=True)
    channels = {name: list(part.positions) for name, part in found.channels.items()}
    assert {name: sorted(positions) for name, positions in channels.items()} == {
        TRENDING: [0, 1, 2],
        "popular": [3, 4, 5],
    }
    assert list(found.channels[TRENDING].scores) == found.scores[:3]


@pytest.mark.parametrize("scenario", ["", TRENDING])
async def test_excluded_hidden_and_known_items_are_left_out(scenario: str) -> None:
    shop = await busy_shop()
    query: dict[str, Any] = {"scenario": scenario} if scenario else {"channel": TRENDING}
    assert list((await shop.recall(size=2, exclude=["x"], **query)).ids) == ["b", "c"]
    assert list((await shop.recall(size=1, seen=["b", "x"], new_only=True, **query)).ids) == ["c"]
    assert list((await shop.recall(size=2, seen=["b", "x"], **query)).ids) == ["x", "b"]
    # Before the ranking is made again.
    shop.change(offered=[], withdrawn=["x", "b"])
    assert list((await shop.recall(size=1, **query)).ids) == ["c"]
    assert await shop.refresh() == ["b", "c"]
    assert list((await shop.recall(size=1, **query)).ids) == ["c"]
    shop.change(offered=["x", "b"])
    assert await shop.refresh() == ["x", "b", "c"]


async def test_ingested_items_outside_the_catalogue_are_offered() -> None:
    shop = await busy_shop()
    shop.new_items.replace(NewItems(["unknown"], np.zeros((1, 3), np.float32), dropped=["c"]))
    assert await shop.refresh() == ["unknown", "x", "b", "c"]
    assert list((await shop.recall(channel=TRENDING, size=9)).ids) == ["unknown", "x", "b"]


async def test_the_merge_asks_the_channel_if_the_release_gives_it_a_weight() -> None:
    shop = await busy_shop()
    assert "x" not in (await shop.recall(size=400)).ids
    channels = {**shop.encoder.spec.channels["cold"], TRENDING: Channel(weight=4.0, depth=2)}
    spec = shop.encoder.spec
    shop.encoder.spec = spec.model_copy(update={"channels": {**spec.channels, "cold": channels}})
    found = await shop.recall(size=400, explain=True)
    # By hand: b gets 4 / 62 and a place among the popular items, x gets 4 / 61.
    assert list(found.ids)[:2] == ["b", "x"]
    assert len(list(found.channels[TRENDING].positions)) == 2
    assert list(found.unlisted) == ["x"]


async def test_recall_goes_on_while_redis_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    shop, clock, first = await busy_shop(), Clock(monkeypatch, "services.recall.trending"), list[str]()
    releases: Any = SimpleNamespace(get=lambda _="": ("one", SimpleNamespace(trending=shop.trending)))

    def between() -> None:
        first.append(shop.trending.latest.sku_ids[0])
        if len(first) == 4:
            raise _Ended
        shop.reader.failing = len(first) < 3
        shop.reader.count(NOW, {"c": 50})

    clock.at_pause = between
    with capture_logs() as logs, pytest.raises(_Ended):
        await follow(shop.reader, shop.counts, releases, 2.5)
    assert first == ["x", "x", "x", "c"]
    assert clock.pauses == [2.5] * 4
    assert [(line["event"], line.get("reason")) for line in logs] == [
        ("action counts are not read", "Redis is gone"),
        ("action counts are read again", None),
    ]


class _Ended(Exception):
    """Ends the following."""
