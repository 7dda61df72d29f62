"""recall offers items that were ingested after the training of its release."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import numpy as np
import numpy.typing as npt
import pytest
from structlog.testing import capture_logs

from recmesh.contract import NEW
from recmesh.errors import ReleaseError, Unavailable
from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.pb.user_info_pb2 import History, UserInfo
from recmesh.releases import ModelStore, NewItems
from recmesh.retrieval import Retriever
from recmesh.serving.compute_gate import ComputeGate
from recmesh.serving.drift import Drift
from recmesh.serving.stages import CandidateList, CandidateQuery, RequestUser
from services.recall.core import RecallCore, RecallRelease
from services.recall.item_fields import ItemFields
from services.recall.live_items import ChangedItems, LiveItems
from services.recall.new_items import LatestNewItems, follow, follow_live
from services.recall.trending import Trending
from tests.unit.clock import Clock
from tests.unit.metric import added
from tests.unit.retrieval.test_new import with_new_items

_VECTOR = np.array([1, 3, 1], np.float32)


_INGESTED = NewItems(["found", "mug", "tea"], np.array([[0, 0, -5], [1, 0, 0], [1, 2, -1]], np.float32))


class _Unlisted:
    """A search that finds an item of the catalogue and one that it does not contain."""

    async def search(self, vector: npt.NDArray[np.float32], limit: int, timeout: float) -> tuple[Sequence[str], Any]:
        return ["a", "found"], np.array([2, 1], np.float32)


def _release() -> RecallRelease:
    encoder = with_new_items()
    user = encoder.user({"age": "1"})
    features: Any = SimpleNamespace(encode=lambda _: (user, _VECTOR))
    unknown: Any = SimpleNamespace(count=lambda: None)
    vectors: Any = _Unlisted()
    items, drift = LatestNewItems(encoder), Drift(encoder)
    fields, trending = ItemFields(encoder, items), Trending(encoder, items)
    release = RecallRelease(
        encoder, Retriever(encoder), features, unknown, vectors, items, trending, drift, AsyncMock(), fields
    )
    # By hand: tea gets 1 * 1 + 3 * 2 - 1 = 6, mug 1, and the best of the catalogue's new items, c, 5.
    release.new_items.replace(_INGESTED)
    return release


async def _recalled(release: RecallRelease, **query: Any) -> CandidateList:
    releases: Any = SimpleNamespace(get=lambda _="": ("one", release))
    user = RequestUser(UserInfo(user_id="7"), History(sku_ids=query.pop("seen", ())))
    return await RecallCore(releases, ComputeGate(), 1.0).recall(CandidateQuery(user, **query), 5.0)


async def test_ingested_items_are_ranked_among_the_new_items_of_the_catalogue() -> None:
    found = await _recalled(_release(), channel=NEW, size=4)
    assert list(found.ids) == ["tea", "c", "mug", "00123"]
    assert found.scores == [6.0, 5.0, 1.0, 0.0]
    assert list(found.unlisted) == ["tea", "mug"]


async def test_ingested_items_of_the_history_and_excluded_ones_are_left_out() -> None:
    found = await _recalled(_release(), channel=NEW, size=9, seen=["tea"], new_only=True, exclude=("mug",))
    assert list(found.ids) == ["c", "00123", "d", "found"]


async def test_an_item_that_two_channels_find_is_one_candidate() -> None:
    release = _release()
    release.encoder.spec = _with_new(release, depth=9)
    found = await _recalled(release, size=400)
    assert list(found.ids).count("found") == 1
    assert {"tea", "mug", "c", "found"} <= set(found.ids)
    assert sorted(found.unlisted) == ["found", "mug", "tea"]


async def test_no_more_ingested_items_than_the_quota_are_candidates() -> None:
    release = _release()
    release.encoder.spec = _with_new(release, depth=1)
    found = await _recalled(release, size=400)
    assert "tea" in found.ids and "mug" not in found.ids


async def test_dropped_items_come_out_of_no_channel() -> None:
    release = _release()
    everything = await _recalled(release, size=400)
    assert {"a", "c", "00123"} <= set(everything.ids)
    release.new_items.replace(replace(_INGESTED, dropped=["a", "c", "not in the catalogue"]))
    for channel in ("", NEW, "popular", "two_tower", "neighbours"):
        found = await _recalled(release, size=400, channel=channel, seen=["b"])
        assert not {"a", "c"} & set(found.ids), channel
    kept = await _recalled(release, size=400)
    assert set(kept.ids) == set(everything.ids) - {"a", "c"}
    release.new_items.replace(_INGESTED)
    assert list((await _recalled(release, size=400)).ids) == list(everything.ids)


async def test_vectors_of_another_size_are_refused() -> None:
    release = _release()
    with pytest.raises(ReleaseError, match="their vectors have 2 numbers, the release's 3"):
        release.new_items.replace(NewItems(["tea"], np.ones((1, 2), np.float32)))
    assert release.new_items.items is _INGESTED


def _with_new(release: RecallRelease, depth: int) -> Any:
    spec = release.encoder.spec
    channel = next(iter(spec.channels["cold"].values()))
    cold = {**spec.channels["cold"], "new": channel.model_copy(update={"depth": depth})}
    return spec.model_copy(update={"channels": {**spec.channels, "cold": cold}})


def test_the_store_is_read_again_when_the_items_change(tmp_path: Path) -> None:
    store, latest = ModelStore(str(tmp_path)), LatestNewItems(with_new_items())
    latest.refresh(store, "one")
    assert list(latest.items.sku_ids) == []
    for ids in (["x"], ["x", "y"], []):
        store.set_new_items("one", NewItems(ids, np.ones((len(ids), 3), np.float32)))
        latest.refresh(store, "one")
        assert list(latest.items.sku_ids) == ids
    before = latest.items
    latest.refresh(store, "one")
    assert latest.items is before


class _Ended(Exception):
    """Ends the endless following."""


class _Items:
    """New items whose refreshing fails as listed."""

    def __init__(self, *faults: Exception | None) -> None:
        self.faults = list(faults)
        self.asked: list[tuple[object, str]] = []
        self.new_items = self

    def refresh(self, store: object, release: str) -> None:
        self.asked.append((store, release))
        if (fault := self.faults.pop(0)) is not None:
            raise fault


async def _followed(monkeypatch: pytest.MonkeyPatch, *faults: Exception | None) -> tuple[_Items, Clock, object]:
    clock, items, store = Clock(monkeypatch, "services.recall.new_items"), _Items(*faults), object()

    def end() -> None:
        if not items.faults:
            raise _Ended

    clock.at_pause = end
    following: Any = (store, SimpleNamespace(get=lambda: ("r7", items)), 2.5)
    with pytest.raises(_Ended):
        await follow(*following)
    return items, clock, store


async def test_new_items_are_refreshed_at_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    items, clock, store = await _followed(monkeypatch, None, None, None)
    assert items.asked == [(store, "r7")] * 3
    assert clock.pauses == [2.5] * 3


async def test_a_failure_is_counted_once_until_a_success_and_each_reason_is_logged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failures = added("recmesh_release_failures_total", service="recall")
    damaged = ReleaseError("damaged")
    with capture_logs() as logs:
        await _followed(monkeypatch, damaged, damaged, ValueError("odd"), None, ValueError("odd"), Unavailable("down"))
    assert failures() == 2
    assert [(line["log_level"], line.get("reason"), line["attempts"]) for line in logs] == [
        ("error", "damaged", 1),
        ("error", "ValueError: odd", 2),
        ("info", None, 3),
    ]


class _Tower:
    """An item tower that gives each item the vector [number of its runs so far, 0, 1]."""

    def __init__(self) -> None:
        self.runs = 0

    def run(self, _outputs: None, inputs: Any) -> list[npt.NDArray[np.float32]]:
        self.runs += 1
        return [np.array([[self.runs, 0, 1]] * len(inputs["item"]), np.float32)]


def test_what_feed_changed_goes_before_what_was_ingested() -> None:
    encoder, live, tower = with_new_items(), LiveItems(), _Tower()
    live.latest = ChangedItems({"tea": {"brand": "x"}, "a": {}, "cup": {}}, frozenset({"mug", "c", "nobody"}), 4)
    latest = LatestNewItems(encoder, live, tower)
    latest.replace(replace(_INGESTED, dropped=["a", "b"]))
    assert list(latest.items.sku_ids) == ["found", "tea", "cup"]
    assert latest.items.vectors.tolist() == [[0, 0, -5], [1, 0, 1], [1, 0, 1]]
    assert latest.dropped.tolist() == encoder.catalogue.encode(["b", "c"]).tolist()
    assert latest.withdrawn == {"mug", "nobody"}
    assert latest.changes == 4
    # Only an item with other fields is encoded again.
    live.latest = ChangedItems({"tea": {"brand": "y"}, "cup": {}}, frozenset(), 7)
    latest.update()
    assert list(latest.items.sku_ids) == ["found", "mug", "tea", "cup"]
    assert latest.items.vectors.tolist() == [[0, 0, -5], [1, 0, 0], [2, 0, 1], [1, 0, 1]]
    assert latest.dropped.tolist() == encoder.catalogue.encode(["a", "b"]).tolist()
    assert (latest.withdrawn, latest.changes, tower.runs) == (frozenset(), 7, 2)


def test_a_release_without_towers_gets_no_items_from_feed() -> None:
    live = LiveItems()
    live.latest = ChangedItems({"cup": {}}, frozenset({"mug"}), 1)
    latest = LatestNewItems(with_new_items(), live)
    latest.replace(_INGESTED)
    assert list(latest.items.sku_ids) == ["found", "tea"]


async def test_withdrawn_items_are_left_out_of_every_channel() -> None:
    release = _release()
    release.new_items._live.latest = ChangedItems(withdrawn=frozenset({"found", "a", "tea"}), changes=1)
    release.new_items.update()
    for channel in ("", NEW, "popular", "two_tower", "neighbours"):
        found = await _recalled(release, size=400, channel=channel, seen=["b"])
        assert not {"found", "a", "tea"} & set(found.ids), channel


class _Redis:
    """Items and their changes, of which at most two are read at once."""

    def __init__(self, values: Mapping[str, bytes | None]) -> None:
        self.values = values
        self.asked: list[int] = []

    async def changed_items(self, after: int, count: int) -> list[tuple[str, int]]:
        self.asked.append(after)
        return [(sku_id, number) for number, sku_id in enumerate(self.values, 1) if number > after][:2]

    async def get_items(self, sku_ids: Sequence[str]) -> list[bytes | None]:
        return [self.values[sku_id] for sku_id in sku_ids]


async def test_changes_are_read_once_and_completely() -> None:
    live = LiveItems()
    cup = ItemInfo(sku_id="cup", brand="x").SerializeToString()
    redis = _Redis({"a": None, "cup": cup, "b": cup, "c": b"\xff", "d": None})
    await live.refresh(redis)
    # b and c are damaged: their values are not theirs.
    assert live.latest == ChangedItems({"cup": {"brand": "x"}}, {"a", "b", "c", "d"}, 5)
    assert redis.asked == [0, 2, 4, 5]
    redis.values = {**redis.values, "e": None, "f": cup}
    await live.refresh(redis)
    assert redis.asked[4:] == [5, 7]
    assert live.latest.changes == 7


class _Told:
    """The new items of a release, which note when they are told to update."""

    def __init__(self, live: LiveItems) -> None:
        self.live, self.changes, self.told = live, 0, list[int]()

    def update(self) -> None:
        self.changes = self.live.latest.changes
        self.told.append(self.changes)


async def test_the_active_release_is_told_of_each_change_and_a_failure_is_logged_with_its_end() -> None:
    live = LiveItems()
    items = _Told(live)
    releases: Any = SimpleNamespace(get=lambda _="": ("one", SimpleNamespace(new_items=items)))
    down = Unavailable("Redis is down")
    known: list[int | Exception] = [1, 1, down, down, 1, 3, down, _Ended()]

    async def refresh(_reader: object) -> None:
        if isinstance(state := known.pop(0), Exception):
            raise state
        live.latest = ChangedItems(changes=state)

    live.refresh = refresh  # type: ignore[method-assign, assignment]
    with capture_logs() as lines, pytest.raises(_Ended):
        await follow_live(_Redis({}), live, releases, 0)
    assert items.told == [1, 3]
    assert [line["event"] for line in lines] == ["changed items are not read", "changed items are read again"]
