"""recall asks the channels, and answers without Milvus."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import numpy as np
import pytest

from recmesh.conditions import Condition
from recmesh.errors import DeadlineExceeded, InvalidRequest, Unavailable
from recmesh.features import Catalogue
from recmesh.features.spec import Channel
from recmesh.pb.user_info_pb2 import History, UserInfo
from recmesh.releases import NewItems
from recmesh.retrieval import Retriever
from recmesh.serving.compute_gate import ComputeGate
from recmesh.serving.drift import Drift
from recmesh.serving.models import UnknownValues
from recmesh.serving.stages import CandidateList, CandidateQuery, RequestUser
from services.recall import core
from services.recall.core import NoChannelAnswered, RecallCore, RecallRelease
from services.recall.item_fields import ItemFields
from services.recall.new_items import LatestNewItems
from services.recall.trending import Trending
from tests.unit.clock import Clock
from tests.unit.metric import added
from tests.unit.recall.test_item_fields import Redis
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
    new_items, drift = LatestNewItems(encoder), Drift(encoder)
    fields, trending = ItemFields(encoder, new_items), Trending(encoder, new_items)
    release = RecallRelease(
        encoder, Retriever(encoder), features, unknown, vectors, new_items, trending, drift, AsyncMock(), fields
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


def _release(
    milvus: _Milvus, quotas: dict[str, Channel] | None = None, vector: Any = (1, 3, 1), repeats: bool = True
) -> RecallRelease:
    """A release in which a user of segment `cold` has these quotas."""
    encoder = with_new_items()
    if quotas is not None:
        channels = dict.fromkeys(encoder.spec.channels, quotas)
        encoder.spec = encoder.spec.model_copy(update={"channels": channels, "repeats": repeats})
    encoded = None if vector is None else np.array(vector, np.float32)
    features: Any = SimpleNamespace(encode=lambda _: (encoder.user({"age": "1"}), encoded))
    vectors: Any = milvus
    unknown, new_items = UnknownValues("recall", encoder), LatestNewItems(encoder)
    trending, drift, fields = Trending(encoder, new_items), Drift(encoder), ItemFields(encoder, new_items)
    return RecallRelease(
        encoder, Retriever(encoder), features, unknown, vectors, new_items, trending, drift, AsyncMock(), fields
    )


async def _asked(
    served: RecallRelease, timeout: float = 5.0, channel_timeout: float = 1.0, **query: Any
) -> CandidateList:
    releases: Any = SimpleNamespace(get=lambda name="": (name or "one", served))
    user = query.pop("user", RequestUser(UserInfo(user_id="7"), History()))
    return await RecallCore(releases, ComputeGate(), channel_timeout).recall(CandidateQuery(user, **query), timeout)


class _TimedMilvus(_Milvus):
    """Keeps the time that each search may take."""

    def __init__(self, *ids: str) -> None:
        super().__init__(ids)
        self.timeouts: list[float] = []

    async def search(self, _vector: object, limit: int, timeout: float) -> tuple[Sequence[str], Any]:
        self.timeouts.append(timeout)
        return await super().search(_vector, limit, timeout)


async def test_milvus_gets_three_fifths_of_the_time_or_the_limit_of_the_channel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Clock(monkeypatch, "recmesh.serving.deadline")
    milvus = _TimedMilvus("b")
    release = _release(milvus)
    for timeout in (1.0, 5.0):
        await _asked(release, timeout=timeout, size=3)
    assert milvus.timeouts == pytest.approx([0.6, 1.0])


@pytest.mark.parametrize(
    ("excluded", "limit"), [(0, 3), (1, 67), (64, 67), (65, 131), (4_000, 3 + 63 * 64), (9_999, 4_096)]
)
async def test_excluded_items_make_a_search_longer_in_steps_of_64(excluded: int, limit: int) -> None:
    """And to no more than 4,096, however many items are excluded."""
    milvus = _Milvus(["b", "d"])
    release = _release(milvus)
    numbers = np.arange(excluded, dtype=np.int32)
    retriever: Any = release.retriever
    retriever.excluded = lambda *_: numbers
    await _asked(release, channel="two_tower", size=3)
    assert milvus.limits == [limit]


async def test_dropped_items_make_a_search_longer_by_twice_their_share() -> None:
    """Two of five items: 2 * 300 * 2 / 5 = 240, in steps of 64."""
    milvus = _Milvus(["b", "d"])
    release = _release(milvus)
    release.new_items.replace(NewItems([], np.empty((0, 3), np.float32), ["a", "c"]))
    await _asked(release, channel="two_tower", size=300)
    assert milvus.limits == [300 + 256]


async def test_a_search_has_the_depth_of_its_quota() -> None:
    milvus = _Milvus(["b", "d", "a"])
    found = await _asked(_release(milvus, {"two_tower": Channel(depth=2)}), size=2, explain=True)
    assert milvus.limits == [2]
    assert list(found.ids) == ["b", "d"]
    # Reciprocal ranks: 1 / (60 + position).
    assert found.scores == pytest.approx([1 / 61, 1 / 62])


async def test_the_merge_follows_the_weights_of_the_quotas() -> None:
    """By hand: two_tower has b, d with weight 1; popular has a, b with weight 4."""
    quotas = {"two_tower": Channel(depth=2), "popular": Channel(depth=2, weight=4)}
    found = await _asked(_release(_Milvus(["b", "d"]), quotas), size=3, explain=True)
    popular = found.channels["popular"]
    first, second = (found.ids[position] for position in popular.positions)
    expected = {"b": 1 / 61, "d": 1 / 62}
    for rank, sku_id in enumerate((first, second), 1):
        expected[sku_id] = expected.get(sku_id, 0) + 4 / (60 + rank)
    assert dict(zip(found.ids, found.scores, strict=True)) == pytest.approx(expected, rel=1e-5)
    assert found.scores == sorted(found.scores, reverse=True)


async def test_a_short_list_is_filled_with_popular_items() -> None:
    """The order of popularity is a, b, c, d, 00123. Scores fall below those of the merge."""
    quotas = {"two_tower": Channel(depth=1)}
    found = await _asked(_release(_Milvus(["b"]), quotas), size=4, exclude=["c"], explain=True)
    assert list(found.ids) == ["b", "a", "d", "00123"]
    assert found.scores == pytest.approx([1 / 61, 1 / 122, 1 / 183, 1 / 244])
    assert {name: list(part.positions) for name, part in found.channels.items()} == {
        "two_tower": [0],
        "popular": [1, 2, 3],
    }


async def test_no_more_than_250_popular_items_fill_a_list_unless_more_than_usual_are_wanted() -> None:
    release = _release(_Milvus(["b"]), {"two_tower": Channel(depth=1)})
    statistics, items = release.encoder.statistics, 600
    skus = [str(n) for n in range(items)]
    release.encoder.catalogue = Catalogue.build(skus, [], np.zeros((items, 0), np.float32))
    release.encoder.statistics = replace(statistics, order=np.arange(items, dtype=np.int32))
    release.vectors.ids = ["0"]  # type: ignore[attr-defined]
    usual = release.encoder.spec.candidates
    sizes = [len((await _asked(release, size=size)).ids) for size in (10, 250, usual, usual + 1)]
    assert (usual, sizes) == (400, [10, 250, 250, 401])


async def test_without_towers_milvus_is_not_asked() -> None:
    milvus = _Milvus(["b"])
    found = await _asked(_release(milvus, vector=None), size=3)
    assert (milvus.limits, found.degraded) == ([], ())
    assert list((await _asked(_release(milvus, vector=None), size=3, channel="two_tower")).ids) == []


async def test_items_outside_the_catalogue_are_found_and_named_unless_they_are_excluded() -> None:
    user = RequestUser(UserInfo(), History(sku_ids=["seen"], older_sku_ids=["older"]))
    release = _release(_Milvus(["seen", "b", "x", "older", "y", "a"]))
    query: dict[str, Any] = {"user": user, "channel": "two_tower", "size": 9, "exclude": ["y"]}
    found = await _asked(release, **query)
    assert (list(found.ids), list(found.unlisted)) == (["seen", "b", "x", "older", "a"], ["seen", "x", "older"])
    # Six items from 9 down to 1.
    assert list(found.scores) == pytest.approx([9, 7.4, 5.8, 4.2, 1])
    new = await _asked(release, new_only=True, **query)
    assert (list(new.ids), list(new.unlisted), new.new_only) == (["b", "x", "a"], ["x"], True)


async def test_a_release_without_repeats_wants_new_items_only() -> None:
    release = _release(_Milvus(["seen", "b"]), {"two_tower": Channel(depth=9)}, repeats=False)
    user = RequestUser(UserInfo(), History(sku_ids=["seen"]))
    found = await _asked(release, user=user, channel="two_tower", size=9)
    assert (list(found.ids), found.new_only) == (["b"], True)


async def test_the_answer_names_the_release_and_its_missing_values() -> None:
    release = _release(_Milvus(["b"]))
    found = await _asked(release, size=3, release="older")
    assert (found.release, tuple(found.missing), found.new_only) == ("older", ("", "-1"), False)


async def test_values_outside_the_vocabularies_are_counted() -> None:
    release = _release(_Milvus(["b"]))
    unknown = added("recmesh_unknown_values_total", service="recall", field="user.age")
    release.encoder.user({"age": "unheard of"})
    await _asked(release, size=3)
    assert unknown() == 1
    await _asked(release, size=3)
    assert unknown() == 1


async def test_a_search_ends_with_the_request() -> None:
    """recall gives up, and so does the search."""
    ended = asyncio.Event()

    class Endless(_Milvus):
        async def search(self, _vector: object, limit: int, timeout: float) -> tuple[Sequence[str], Any]:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()
            raise AssertionError

    with pytest.raises(DeadlineExceeded):
        await _asked(_release(Endless()), timeout=0.01, size=3)
    await ended.wait()


async def test_if_no_release_is_ready_recall_is_unavailable_even_without_milvus() -> None:
    def none(_release: str = "") -> None:
        raise Unavailable("recall: no release is ready yet")

    releases: Any = SimpleNamespace(get=none)
    user = RequestUser(UserInfo(), History())
    with pytest.raises(Unavailable, match="no release"):
        await RecallCore(releases, ComputeGate(), 1.0).recall(CandidateQuery(user, 3), 1.0)


async def _with_fields(milvus: _Milvus, **categories: str) -> RecallRelease:
    """A release whose items have categories; its catalogue is a, b, c, d and 00123."""
    release = _release(milvus, {"two_tower": Channel(depth=9), "popular": Channel(depth=9), "new": Channel(depth=9)})
    await release.item_fields.refresh(Redis(**categories))
    return release


def _filter(*texts: str) -> list[Condition]:
    return list(map(Condition.parse, texts))


async def test_a_filter_gives_all_items_that_pass_it_without_milvus() -> None:
    milvus = _Milvus(error=Unavailable("Milvus is down"))
    release = await _with_fields(milvus, a="tea", b="tools", c="tea", d="tools", **{"00123": "tea"})
    found = await _asked(release, size=9, conditions=_filter("cate=tea"))
    assert (set(found.ids), found.degraded, milvus.limits) == ({"a", "c", "00123"}, (), [])
    # By hand, with the vector 1, 3, 1: a = 45, c = 5, 00123 = 0.
    alone = await _asked(release, size=2, channel="two_tower", conditions=_filter("cate=tea"))
    assert (list(alone.ids), list(alone.scores)) == (["a", "c"], [45, 5])
    excluded = await _asked(release, size=9, exclude=["a"], conditions=_filter("cate=tea"))
    assert set(excluded.ids) == {"c", "00123"}
    nothing = await _asked(release, size=9, conditions=_filter("cate=coffee"))
    assert (list(nothing.ids), nothing.degraded) == ([], ())


async def test_items_outside_the_catalogue_pass_a_filter_too() -> None:
    release = _release(_Milvus(["b"]), {"popular": Channel(depth=9)})
    release.new_items.replace(NewItems(["mug", "pot", "tin"], np.ones((3, 3), np.float32)))
    await release.item_fields.refresh(Redis(a="tea", b="tea", mug="tea", pot="tools", tin="tea"))
    for channel in ("", "popular"):
        found = await _asked(release, size=9, channel=channel, exclude=["tin"], conditions=_filter("cate=tea"))
        assert (list(found.ids), list(found.unlisted)) == (["a", "b", "mug"], ["mug"])
        short = await _asked(release, size=2, channel=channel, conditions=_filter("cate=tea"))
        assert list(short.ids) == ["a", "b"]
    assert list((await _asked(release, size=9, channel="bought_before", conditions=_filter("cate=tea"))).ids) == []


@pytest.mark.parametrize(
    ("passing", "limit"), [("abcd", 40 + 64), ("ab", 40 + 3 * 64), ("a", 40 + 6 * 64)], ids=["most", "some", "one"]
)
async def test_of_many_items_milvus_finds_those_that_pass_in_a_longer_search(
    monkeypatch: pytest.MonkeyPatch, passing: str, limit: int
) -> None:
    """Twice the size, over the share of the five items that pass."""
    monkeypatch.setattr(core, "_MAX_EXACT", 0)
    milvus = _Milvus(["d", "x", "b", "a", "c"])
    release = await _with_fields(milvus, **{sku_id: "tea" if sku_id in passing else "tools" for sku_id in "abcd"})
    found = await _asked(release, size=40, channel="two_tower", conditions=_filter("cate=tea"))
    assert list(found.ids) == [sku_id for sku_id in "dbac" if sku_id in passing]
    assert milvus.limits == [limit]
    assert found.degraded == ()


async def test_a_search_in_which_too_few_items_pass_is_made_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "_MAX_EXACT", 0)
    # As many as were asked for: there may be more.
    milvus = _Milvus(["b"] * 68)
    release = await _with_fields(milvus, a="tea", b="tools", c="tea", d="tea")
    found = await _asked(release, size=4, channel="two_tower", conditions=_filter("cate=tea"))
    assert (milvus.limits, list(found.ids)) == ([68], ["a", "c", "d"])


async def test_before_the_fields_are_read_a_filter_is_unavailable() -> None:
    release = _release(_Milvus(["b"]))
    with pytest.raises(Unavailable, match="the fields of the items are not read yet"):
        await _asked(release, size=3, conditions=_filter("cate=tea"))
    assert list((await _asked(release, size=1)).ids) == ["b"]


async def test_an_unknown_field_is_named() -> None:
    release = await _with_fields(_Milvus(["b"]), a="tea")
    with pytest.raises(InvalidRequest, match="item field 'color' is unknown: use one of sku_id, cate, price"):
        await _asked(release, size=3, conditions=_filter("color=red"))
