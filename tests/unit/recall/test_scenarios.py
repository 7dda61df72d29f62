"""recall answers for a scenario: its channels, its errors, and what is never a candidate."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import numpy as np
import pytest

from recmesh.errors import InvalidRequest
from recmesh.features.spec import DAY_MS
from recmesh.pb.user_info_pb2 import History, UserInfo
from recmesh.releases import NewItems
from recmesh.retrieval import Retriever
from recmesh.retrieval.scenarios import Scenarios
from recmesh.serving.compute_gate import ComputeGate
from recmesh.serving.drift import Drift
from recmesh.serving.stages import ANONYMOUS, CandidateList, CandidateQuery, RequestUser
from services.recall.core import RecallCore, RecallRelease
from services.recall.item_fields import ItemFields
from services.recall.new_items import LatestNewItems
from services.recall.trending import Trending
from tests.unit.features.toy import encoder
from tests.unit.retrieval.test_scenarios import scenarios

VECTORS = [[1.0, 0.0, 9.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.1, 2.0, 9.0], [3.0, 0.1, 0.0]]


async def _recalled(
    made: Scenarios | None = None,
    history: Sequence[str] = (),
    new: NewItems | None = None,
    repeats: bool = True,
    **query: Any,
) -> CandidateList:
    toy = encoder(repeats=repeats, vectors=VECTORS)
    times = [(90 - number) * DAY_MS for number in range(len(history))]
    user = toy.user({}, list(history), times, ["order"] * len(history), [1.0] * len(history))
    features: Any = SimpleNamespace(encode=lambda _: (user, np.array([1, 3, 1], np.float32)))
    unknown: Any = SimpleNamespace(count=lambda: None)
    milvus: Any = SimpleNamespace(search=AsyncMock(side_effect=AssertionError("Milvus is not needed")))
    items = LatestNewItems(toy)
    if new is not None:
        items.replace(new)
    retriever = Retriever(toy, scenarios() if made is None else made)
    fields, trending = ItemFields(toy, items), Trending(toy, items)
    release = RecallRelease(toy, retriever, features, unknown, milvus, items, trending, Drift(toy), AsyncMock(), fields)
    releases: Any = SimpleNamespace(get=lambda _="": ("one", release))
    asked = RequestUser(UserInfo(), History(sku_ids=history)) if history else ANONYMOUS
    return await RecallCore(releases, ComputeGate(), 1.0).recall(CandidateQuery(asked, **{"size": 9, **query}), 5.0)


def _positions(found: CandidateList, channel: str) -> list[str]:
    return [found.ids[position] for position in found.channels[channel].positions]


async def test_the_list_has_what_goes_with_the_context_then_popular_items() -> None:
    found = await _recalled(scenario="related", context=["a"], explain=True)
    assert list(found.ids)[:2] == ["b", "c"]
    assert sorted(found.ids) == ["00123", "b", "c", "d"]
    assert _positions(found, "viewed_with") == ["b", "c"]
    assert set(found.channels) == {"viewed_with", "popular"}
    assert (found.degraded, found.release) == ((), "one")


async def test_several_context_items_add_up_and_are_never_candidates() -> None:
    found = await _recalled(scenario="related", context=["a", "b", "a"])
    assert list(found.ids) == ["c", "d", "00123"]


async def test_excluded_and_dropped_items_are_left_out() -> None:
    found = await _recalled(
        scenario="related", context=["a"], exclude=["b"], new=NewItems([], NewItems.none().vectors, ["c"])
    )
    assert sorted(found.ids) == ["00123", "d"]


async def test_a_context_that_nobody_knows_gives_popular_items() -> None:
    found = await _recalled(scenario="related", context=["never seen"], explain=True)
    assert sorted(found.ids) == ["00123", "a", "b", "c", "d"]
    assert set(found.channels) == {"popular"}


async def test_a_new_item_is_represented_by_the_nearest_items() -> None:
    new = NewItems(["fresh"], np.array([[1, 0, -5]], np.float32))
    found = await _recalled(scenario="related", context=["fresh"], new=new)
    # a and b stand in: b 3, c 1 + 2, d 2.5; popular items follow.
    assert list(found.ids)[:3] == ["b", "c", "d"]


async def test_one_channel_of_the_scenario_can_be_asked() -> None:
    found = await _recalled(scenario="related", context=["a"], channel="viewed_with")
    assert list(zip(found.ids, found.scores, strict=True)) == [("b", 3.0), ("c", 1.0)]
    with pytest.raises(
        InvalidRequest, match="recall_type 'two_tower' is unknown: use one of viewed_with, neighbours, pop"
    ):
        await _recalled(scenario="related", context=["a"], channel="two_tower")


async def test_new_only_leaves_out_the_history() -> None:
    found = await _recalled(scenario="related", context=["a"], history=["b"], new_only=True)
    assert sorted(found.ids) == ["00123", "c", "d"]


async def test_repeat_has_the_items_of_the_history_and_no_others() -> None:
    found = await _recalled(scenario="repeat", history=["b", "d", "b", "a"], explain=True)
    assert list(found.ids) == ["b", "d", "a"]
    assert _positions(found, "bought_before") == ["b", "d", "a"]
    assert list((await _recalled(scenario="repeat", history=["b", "d"], exclude=["b"])).ids) == ["d"]
    assert list((await _recalled(scenario="repeat")).ids) == []


async def test_a_release_without_the_scenario_says_so() -> None:
    with pytest.raises(InvalidRequest, match=r"^release one has no lists for basket: train again$"):
        await _recalled(scenario="basket", context=["a"])
    for scenario, context in (("related", ["a"]), ("repeat", [])):
        with pytest.raises(InvalidRequest, match=f"^release one has no lists for {scenario}: train again$"):
            await _recalled(Scenarios(), scenario=scenario, context=context)
    with pytest.raises(
        InvalidRequest, match=r"^release one has no scenario 'repeat': its data set has no repeated actions$"
    ):
        await _recalled(scenario="repeat", repeats=False)
