"""rank orders what a backend scores."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from prometheus_client import REGISTRY

from recmesh.errors import DeadlineExceeded, InvalidRequest, Unavailable
from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.pb.user_info_pb2 import History, UserInfo
from recmesh.serving.compute_gate import ComputeGate
from recmesh.serving.stages import RequestUser, ScoreList, ScoreQuery
from services.rank.backend import Inputs, Scored
from services.rank.core import RankCore, RankRelease
from tests.unit.retrieval.test_new import with_new_items

USER = RequestUser(UserInfo(user_id="7"), History())


class _Backend:
    """Scores the rows of a request by a list of its own."""

    def __init__(self, scores: Sequence[float], missing: Sequence[str] = ()) -> None:
        self.scores = np.array(scores, np.float32)
        self.missing = missing
        self.rows: list[int] = []
        self.outputs: list[str] = []

    async def score(self, inputs: Inputs, timeout: float, output: str = "score") -> Scored:
        self.rows.append(len(inputs["dense"]))
        self.outputs.append(output)
        return Scored(self.scores[: len(inputs["dense"])], self.missing)


class _Hanging(_Backend):
    async def score(self, inputs: Inputs, timeout: float, output: str = "score") -> Scored:
        await asyncio.Event().wait()
        raise AssertionError


async def _ranked(backend: _Backend, timeout: float = 5.0, rankers: Any = None, **query: Any) -> ScoreList:
    encoder = with_new_items()
    if rankers is not None:
        encoder.spec = encoder.spec.model_copy(update={"rankers": rankers})
    features: Any = SimpleNamespace(encode=lambda _: (encoder.user({"age": "1"}), None))
    unknown: Any = SimpleNamespace(count=lambda: None)
    served: Any = backend
    releases: Any = SimpleNamespace(get=lambda _="": ("one", RankRelease(encoder, features, unknown, served)))
    return await RankCore(releases, ComputeGate()).rank(ScoreQuery(USER, **{"ids": (), **query}), timeout)


async def test_the_best_items_come_first_and_equal_ones_keep_their_order() -> None:
    ranked = await _ranked(_Backend([0.25, 0.75, 0.5, 0.75]), ids=["a", "b", "c", "d"])
    assert ranked == ScoreList(["b", "d", "c", "a"], [0.75, 0.75, 0.5, 0.25], "one")


async def test_the_answer_has_the_size_of_the_query() -> None:
    ranked = await _ranked(_Backend([0.25, 0.75, 0.5]), ids=["a", "b", "c"], size=2)
    assert (ranked.ids, ranked.scores) == (["b", "c"], [0.75, 0.5])


async def test_items_outside_the_catalogue_are_scored_after_those_in_it() -> None:
    """The backend gets a, b, then tea and the item without fields: scores must return to the right ids."""
    backend = _Backend([1, 2, 3, 4])
    ranked = await _ranked(backend, ids=["unheard of", "a"], items=[ItemInfo(sku_id="tea"), ItemInfo(sku_id="b")])
    assert ranked.ids == ["tea", "unheard of", "b", "a"]
    assert ranked.scores == [4, 3, 2, 1]


async def test_a_query_chooses_the_output() -> None:
    backend = _Backend([1, 2])
    await _ranked(backend, ids=["a", "b"], debiased=True)
    await _ranked(backend, ids=["a", "b"])
    assert backend.outputs == ["affinity", "score"]


async def test_an_ordered_query_keeps_its_order_if_the_release_has_no_ranker_for_the_segment() -> None:
    backend = _Backend([1, 2, 3, 4])
    query: dict[str, Any] = {"ids": ["d", "a", "c", "b"], "rankers": {"cold": False}}
    kept = await _ranked(backend, ordered=True, size=3, **query)
    assert (kept.ids, kept.scores) == (["d", "a", "c"], [1.0, 0.75, 0.5])
    assert backend.rows == []
    assert (await _ranked(backend, **query)).ids == ["b", "c", "a", "d"]


async def test_what_a_backend_lacks_is_named() -> None:
    ranked = await _ranked(_Backend([1], ["paddle-serving"]), ids=["a"])
    assert ranked == ScoreList(["a"], [1.0], "one", ["paddle-serving"])


async def test_vectors_are_those_of_the_best_items_and_zeros_outside_the_catalogue() -> None:
    encoder = with_new_items()
    items = [ItemInfo(sku_id="x")]
    ranked = await _ranked(_Backend([0.25, 0.75, 0.5]), ids=["a", "b"], items=items, size=2, vectors=True)
    assert list(ranked.ids) == ["b", "x"]
    of_b = encoder.item_vectors[encoder.catalogue.index["b"]].tolist()
    assert np.frombuffer(ranked.vectors, "<f4").tolist() == [*of_b, *([0.0] * len(of_b))]
    assert (await _ranked(_Backend([0.25]), ids=["a"])).vectors == b""


async def test_nothing_to_rank_is_an_empty_answer() -> None:
    backend = _Backend([])
    assert await _ranked(backend) == ScoreList((), (), "one")
    assert backend.rows == []


async def test_too_many_items_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="2001 items to rank: at most 2000"):
        await _ranked(_Backend([]), ids=["a"] * 2_000, items=[ItemInfo(sku_id="b")])


async def test_a_backend_that_does_not_answer_costs_no_more_than_the_timeout() -> None:
    with pytest.raises(DeadlineExceeded, match="rank did not answer within 10 ms"):
        await _ranked(_Hanging([]), timeout=0.01, ids=["a"])


async def test_without_a_release_there_is_no_answer() -> None:
    def none(_release: str = "") -> None:
        raise Unavailable("rank: no release is loaded yet")

    releases: Any = SimpleNamespace(get=none)
    with pytest.raises(Unavailable, match="no release"):
        await RankCore(releases, ComputeGate()).rank(ScoreQuery(USER, ["a"]), 1.0)


async def test_ranked_items_are_counted() -> None:
    before = _observed()
    await _ranked(_Backend([1, 2, 3]), ids=["a", "b", "c"])
    assert (_observed()[0] - before[0], _observed()[1] - before[1]) == (1, 3)


async def test_more_than_500_items_are_encoded_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[bool] = []
    run = ComputeGate.run

    async def observed(gate: ComputeGate, compute: Any, *, in_thread: bool = False) -> Any:
        kept.append(in_thread)
        return await run(gate, compute, in_thread=in_thread)

    monkeypatch.setattr(ComputeGate, "run", observed)
    for count in (1, 500, 501):
        await _ranked(_Backend([1] * count), ids=["a"] * count)
    assert kept == [False, False, True]


async def test_2000_items_are_not_too_many() -> None:
    assert len((await _ranked(_Backend([1] * 2_000), ids=["a"] * 2_000)).ids) == 2_000


async def test_values_outside_the_vocabularies_and_the_release_of_the_query_reach_the_release() -> None:
    counted: list[str] = []
    asked: list[str] = []
    encoder, backend = with_new_items(), _Backend([1])
    features: Any = SimpleNamespace(encode=lambda _: (encoder.user({"age": "1"}), None))
    unknown: Any = SimpleNamespace(count=lambda: counted.append("counted"))
    served: Any = backend

    def get(release: str) -> tuple[str, RankRelease]:
        asked.append(release)
        return "one", RankRelease(encoder, features, unknown, served)

    releases: Any = SimpleNamespace(get=get)
    await RankCore(releases, ComputeGate()).rank(ScoreQuery(USER, ["a"], release="r0"), 1.0)
    assert (asked, counted) == (["r0"], ["counted"])


def _observed() -> tuple[float, float]:
    """The number of requests so far, and of their items."""
    return (
        REGISTRY.get_sample_value("recmesh_ranked_items_count") or 0.0,
        REGISTRY.get_sample_value("recmesh_ranked_items_sum") or 0.0,
    )


class _Summing(_Backend):
    """The score of an item is a weighted sum of its inputs."""

    async def score(self, inputs: Inputs, timeout: float, output: str = "score") -> Scored:
        self.rows.append(len(inputs["dense"]))
        weights = np.arange(1, inputs["dense"].shape[1] + 1, dtype=np.float32)
        return Scored((inputs["dense"] @ weights + inputs["sparse"].sum(1)).astype(np.float32))


async def test_effects_say_how_much_each_group_of_features_moved_a_score() -> None:
    """With a linear score, the effect of a group is the sum of what its inputs add beyond the average item."""
    backend = _Summing(())
    ranked = await _ranked(backend, ids=["a", "b", "c"], size=2, explain=True)
    encoder = with_new_items()
    user = encoder.user({"age": "1"})
    inputs = encoder.ranker_inputs(user, encoder.catalogue.encode(["a", "b", "c"]), False)
    dense = inputs["dense"]
    weights = np.arange(1, dense.shape[1] + 1)
    rows = [["a", "b", "c"].index(sku_id) for sku_id in ranked.ids]
    names = [group.name for group in encoder.feature_groups]
    assert list(ranked.effects) == names
    assert names[:5] == ["popularity", "age", "profile", "history", "two_tower"]
    for group in encoder.feature_groups:
        added = ((dense - dense.mean(0)) * weights)[:, group.dense].sum(1)
        added = added + (inputs["sparse"][:, group.sparse] - group.missing).sum(1)
        assert ranked.effects[group.name] == pytest.approx(added[rows].tolist(), abs=1e-3)
    assert backend.rows == [3] + [2] * len(names)


async def test_no_ranker_no_effects() -> None:
    ranked = await _ranked(_Backend([]), rankers={"cold": False}, ids=["a", "b"], ordered=True, explain=True)
    assert ranked.effects == {}
    assert (await _ranked(_Backend([0.5, 0.25]), ids=["a", "b"])).effects == {}
