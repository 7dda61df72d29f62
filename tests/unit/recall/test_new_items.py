"""recall offers items that were ingested after the training of its release."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from recmesh.contract import NEW
from recmesh.errors import ReleaseError
from recmesh.pb.user_info_pb2 import History, UserInfo
from recmesh.releases import ModelStore, NewItems
from recmesh.retrieval import Retriever
from recmesh.serving.compute_gate import ComputeGate
from recmesh.serving.drift import Drift
from recmesh.serving.stages import CandidateList, CandidateQuery, RequestUser
from services.recall.core import RecallCore, RecallRelease
from services.recall.new_items import LatestNewItems
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
    release = RecallRelease(
        encoder, Retriever(encoder), features, unknown, vectors, LatestNewItems(encoder), Drift(encoder)
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
