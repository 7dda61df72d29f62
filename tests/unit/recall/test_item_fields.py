"""recall knows the fields of items as Redis has them."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from recmesh.conditions import Condition
from recmesh.errors import Unavailable
from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.releases import NewItems
from recmesh.throttle import LogThrottle
from services.recall import item_fields
from services.recall.item_fields import ItemFields, follow, try_refresh
from services.recall.new_items import LatestNewItems
from tests.unit.clock import Clock
from tests.unit.features.toy import encoder


class Redis:
    """A reader of items whose fields are in memory.

    Attributes:
        items: The category of each item that is offered.
        changes: The number of the latest change of each changed item.
        ingestion: What the latest ingestion did.
        read: The ids that were read.
        down: Whether it does not answer.
    """

    def __init__(self, **items: str) -> None:
        self.items = items
        self.changes: dict[str, int] = {}
        self.ingestion: dict[str, float] = {"time": 1}
        self.read: list[str] = []
        self.down = False

    def change(self, sku_id: str, cate: str | None) -> None:
        self.changes[sku_id] = max(self.changes.values(), default=0) + 1
        if cate is None:
            del self.items[sku_id]
        else:
            self.items[sku_id] = cate

    async def latest_ingestion(self) -> dict[str, float]:
        if self.down:
            raise Unavailable("Redis is down")
        return self.ingestion

    async def changed_items(self, after: int, count: int) -> list[tuple[str, int]]:
        later = sorted((number, sku_id) for sku_id, number in self.changes.items() if number > after)
        return [(sku_id, number) for number, sku_id in later[:count]]

    async def get_items(self, sku_ids: Sequence[str]) -> list[bytes | None]:
        self.read += sku_ids
        return [
            ItemInfo(sku_id=sku_id, cate=self.items[sku_id]).SerializeToString() if sku_id in self.items else None
            for sku_id in sku_ids
        ]


def passing(fields: ItemFields, text: str, *others: str) -> tuple[list[int], list[str]]:
    """The numbers of the items of the catalogue that pass, and those of the other ids that do."""
    selection = fields.select([Condition.parse(text)])
    assert selection.count == selection.allowed.sum()
    return np.flatnonzero(selection.allowed).tolist(), [sku_id for sku_id in others if sku_id in selection]


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_fields, "_BATCH", 2)


async def test_all_items_are_read_at_first_and_then_those_that_change() -> None:
    made, redis = encoder(), Redis(a="tea", b="tools", c="tea", d="tea")
    redis.change("a", "tools")
    fields = ItemFields(made, LatestNewItems(made))
    with pytest.raises(Unavailable, match="the fields of the items are not read yet"):
        fields.select([Condition.parse("cate=tea")])
    await fields.refresh(redis)
    # 00123 is not offered.
    assert (passing(fields, "cate=tea"), passing(fields, "cate!=tea")) == (([2, 3], []), ([0, 1], []))
    assert sorted(redis.read) == ["00123", "a", "a", "b", "c", "d"]
    redis.read.clear()
    redis.change("b", "tea")
    redis.change("c", None)
    redis.change("added", "tea")
    redis.change("a", "tea")
    await fields.refresh(redis)
    assert redis.read == ["b", "c", "added", "a"]
    assert passing(fields, "cate=tea", "a", "added", "c", "unheard of") == ([0, 1, 3], ["a", "added"])
    redis.read.clear()
    await fields.refresh(redis)
    assert redis.read == []


async def test_all_items_are_read_again_after_an_ingestion_and_after_many_changes() -> None:
    made, redis = encoder(), Redis(a="tea", b="tools")
    fields = ItemFields(made, LatestNewItems(made))
    await fields.refresh(redis)
    redis.change("added", "tea")
    redis.items["b"] = "tea"
    await fields.refresh(redis)
    assert passing(fields, "cate=tea", "added") == ([0], ["added"])
    redis.ingestion = {"time": 2}
    await fields.refresh(redis)
    assert passing(fields, "cate=tea", "added") == ([0, 1], ["added"])


async def test_changes_are_read_while_all_items_are_read_again() -> None:
    """An ingestion of a million items must not delay them."""
    made, redis = encoder(), Redis(a="tea", b="tools")
    fields = ItemFields(made, LatestNewItems(made))
    await fields.refresh(redis)
    seen: list[list[int]] = []

    class Busy(Redis):
        async def get_items(self, sku_ids: Sequence[str]) -> list[bytes | None]:
            seen.append(passing(fields, "cate=tea")[0])
            if len(seen) == 1:
                self.change("b", "tea")
            return await super().get_items(sku_ids)

    busy = Busy(**redis.items)
    busy.ingestion = {"time": 2}
    await fields.refresh(busy)
    # After the first batch of the new ingestion, the change is read; then it is read again for the new table.
    assert seen[0] == seen[1] == [0]
    assert seen[2] == [0, 1]
    assert passing(fields, "cate=tea") == ([0, 1], [])


async def test_items_of_an_ingestion_are_read_too() -> None:
    made, redis = encoder(), Redis(a="tea", mug="tools", pot="tea")
    new_items = LatestNewItems(made)
    fields = ItemFields(made, new_items)
    await fields.refresh(redis)
    assert passing(fields, "cate=tea", "mug", "pot") == ([0], [])
    new_items.replace(NewItems(["mug", "pot"], np.ones((2, 3), np.float32)))
    await fields.refresh(redis)
    assert passing(fields, "cate=tea", "mug", "pot") == ([0], ["pot"])


async def test_without_redis_what_was_read_stays() -> None:
    made, redis = encoder(), Redis(a="tea")
    fields = ItemFields(made, LatestNewItems(made))
    faults = LogThrottle()
    await try_refresh(fields, redis, faults)
    redis.down = True
    with capture_logs() as logs:
        for _ in range(3):
            await try_refresh(fields, redis, faults)
    assert [(line["event"], line["reason"]) for line in logs] == [("fields of items are not read", "Redis is down")]
    assert passing(fields, "cate=tea") == ([0], [])


class _Ended(Exception):
    """Ends the endless following."""


async def test_the_active_release_is_followed_four_times_a_second_and_a_failure_is_logged_with_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, redis, clock = encoder(), Redis(a="tea"), Clock(monkeypatch, "services.recall.item_fields")
    fields = ItemFields(made, LatestNewItems(made))
    release: Any = SimpleNamespace(item_fields=fields)
    answers = [Unavailable("no release is ready yet"), release, release, release, release, release]
    down = [False, True, True, False, True]
    read: list[bool] = []

    def get(_release: str = "") -> tuple[str, Any]:
        if not answers:
            raise _Ended
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        redis.down = down.pop(0)
        return "one", answer

    clock.at_pause = lambda: read.append(fields._table is not None)
    releases: Any = SimpleNamespace(get=get)
    with capture_logs() as logs, pytest.raises(_Ended):
        await follow(redis, releases, LogThrottle())
    assert clock.pauses == [0.25] * 6
    assert read == [False, True, True, True, True, True]
    assert [(line["event"], line["attempts"]) for line in logs] == [
        ("fields of items are not read", 1),
        ("fields of items are read again", 2),
    ]


def test_the_separators_are_those_of_the_release() -> None:
    made = encoder()
    assert ItemFields(made, LatestNewItems(made)).separators == {}
    multi = made.spec.item_fields[0].model_copy(update={"kind": "multi", "separator": ";", "width": 2})
    made.spec = made.spec.model_copy(update={"item_fields": (multi, *made.spec.item_fields[1:])})
    separators: Mapping[str, str] = ItemFields(made, LatestNewItems(made)).separators
    assert separators == {"cate": ";"}
