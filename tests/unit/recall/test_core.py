"""recall asks the channels, and answers without Milvus."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from recmesh.errors import DeadlineExceeded, InvalidRequest, Unavailable
from recmesh.pb.user_info_pb2 import History, UserInfo
from recmesh.retrieval import Retriever
from recmesh.serving.compute_gate import ComputeGate
from recmesh.serving.drift import Drift
from recmesh.serving.stages import CandidateList, CandidateQuery, RequestUser
from services.recall.core import NoChannelAnswered, RecallCore, RecallRelease
from services.recall.new_items import LatestNewItems
from tests.unit.retrieval.test_new import with_new_items


class _Milvus:
    """A search with fixed results, or one that fails or hangs."""

    def __init__(self, ids: Sequence[str] = (), error: Exception | None = None, hangs: bool = False) -> None:
        self.ids = ids
        self.error = error
        self.hangs = hangs
        self.limits: list[int] = []

    async def search(self, _vector: object, limit: int, timeout: float) -> tuple[Sequence[str], Any]:
        self.limits.append(limit)
        if self.error is not None:
            raise self.error
        if self.hangs:
            await asyncio.Event().wait()
        return self.ids, np.linspace(9, 1, len(self.ids), dtype=np.float32)


async def _recalled(milvus: _Milvus, timeout: float = 5.0, seen: Sequence[str] = (), **query: Any) -> CandidateList:
    encoder = with_new_items()
    user = RequestUser(UserInfo(user_id="7"), History(sku_ids=seen))
    encoded = encoder.user({"age": "1"}, list(seen))
    features: Any = SimpleNamespace(encode=lambda _: (encoded, np.array([1, 3, 1], np.float32)))
    unknown: Any = SimpleNamespace(count=lambda: None)
    vectors: Any = milvus
    release = RecallRelease(
        encoder, Retriever(encoder), features, unknown, vectors, LatestNewItems(encoder), Drift(encoder)
    )
    releases: Any = SimpleNamespace(get=lambda _="": ("one", release))
    return await RecallCore(releases, ComputeGate(), 1.0).recall(CandidateQuery(user, **query), timeout)


async def test_a_single_channel_gives_its_items_in_order() -> None:
    found = await _recalled(_Milvus(["b", "d", "a"]), channel="two_tower", size=3)
    assert list(found.ids) == ["b", "d", "a"]
    assert list(found.scores) == [9, 5, 1]
    assert (found.release, found.degraded, found.unlisted) == ("one", (), ())


async def test_excluded_items_are_searched_for_in_addition_and_left_out() -> None:
    milvus = _Milvus(["b", "d", "a"])
    found = await _recalled(milvus, channel="two_tower", size=3, exclude=["b"])
    assert list(found.ids) == ["d", "a"]
    # A step of 64 for up to 64 excluded items.
    assert milvus.limits == [3 + 64]


@pytest.mark.parametrize("milvus", [_Milvus(error=Unavailable("Milvus is down")), _Milvus([])], ids=["down", "empty"])
async def test_the_other_channels_answer_without_milvus(milvus: _Milvus) -> None:
    found = await _recalled(milvus, size=400)
    assert found.degraded == ("two_tower",)
    everything = await _recalled(_Milvus(["b", "d", "a"]), size=400)
    assert everything.degraded == ()
    assert set(found.ids) <= set(everything.ids)
    assert {"a", "b"} <= set(found.ids)


async def test_a_channel_that_cannot_answer_alone_is_an_error() -> None:
    with pytest.raises(NoChannelAnswered, match="Milvus is down"):
        await _recalled(_Milvus(error=Unavailable("Milvus is down")), channel="two_tower", size=3)


async def test_a_search_that_hangs_leaves_no_more_than_the_timeout() -> None:
    with pytest.raises(DeadlineExceeded, match="recall did not answer within 10 ms"):
        await _recalled(_Milvus(hangs=True), timeout=0.01, channel="two_tower", size=3)


async def test_an_unknown_channel_is_named() -> None:
    with pytest.raises(InvalidRequest, match="recall_type 'best' is unknown: use one of "):
        await _recalled(_Milvus(), channel="best", size=3)


async def test_the_channels_of_each_item_are_explained_only_on_demand() -> None:
    milvus = _Milvus(["b", "d"])
    assert (await _recalled(milvus, size=400)).channels == {}
    explained = await _recalled(milvus, size=400, explain=True)
    part = explained.channels["two_tower"]
    assert [explained.ids[position] for position in part.positions] == ["b", "d"]
    assert list(part.scores) == [9, 1]
