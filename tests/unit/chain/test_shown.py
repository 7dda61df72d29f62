"""What answers show, as metrics; the chain counts them."""

from types import SimpleNamespace
from typing import Any

from recmesh.chain.model import Request
from recmesh.chain.popular import PopularList
from recmesh.chain.shown import Shown
from tests.component.services.test_chain import CATALOGUE, PROFILE, Stages, chain_over
from tests.unit.metric import added, value


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def shown(clock: _Clock, *popular: str) -> Shown:
    best: Any = SimpleNamespace(best=frozenset(popular))
    return Shown(best, clock)


def test_items_popular_items_and_those_of_channels_are_counted() -> None:
    counted = [
        added(name, **labels)
        for name, labels in (
            ("recmesh_recommended_items_total", {}),
            ("recmesh_recommended_popular_items_total", {}),
            ("recmesh_explained_items_total", {}),
            ("recmesh_explained_channel_items_total", {"channel": "popular"}),
            ("recmesh_explained_channel_items_total", {"channel": "two_tower"}),
            ("recmesh_empty_answers_total", {}),
        )
    ]
    of = shown(_Clock(), "a", "b", "z")
    of.count(["a", "b", "c"], [["popular"], ["popular", "two_tower"], ["two_tower"]])
    assert [grown() for grown in counted] == [3, 2, 3, 2, 2, 0]
    of.count(["c"], [])
    assert [grown() for grown in counted] == [4, 2, 3, 2, 2, 0]
    of.count([], [])
    assert [grown() for grown in counted] == [4, 2, 3, 2, 2, 1]


def test_different_items_are_those_of_the_last_half_hour_to_hour() -> None:
    clock = _Clock()
    of = shown(clock)
    of.count(["a", "b"], [])
    of.count(["b", "c"], [])
    assert value("recmesh_distinct_recommended_items") == 3
    clock.now = 1800
    of.count(["d"], [])
    assert value("recmesh_distinct_recommended_items") == 4
    clock.now = 3600
    assert value("recmesh_distinct_recommended_items") == 1
    clock.now = 7200
    assert value("recmesh_distinct_recommended_items") == 0


def test_one_of_sixteen_answers_is_explained() -> None:
    of = shown(_Clock())
    assert [of.explains_next() for _ in range(33)] == [number % 16 == 0 for number in range(33)]


async def test_the_chain_counts_its_answers_and_the_popular_ones() -> None:
    """The popular list of `Stages` has the same items as its candidates."""
    stages = Stages()
    popular = PopularList(stages)
    await popular._refresh()
    items, best = added("recmesh_recommended_items_total"), added("recmesh_recommended_popular_items_total")
    explained = added("recmesh_explained_items_total")
    answer = await chain_over(stages, popular).answer(Request("", PROFILE, 5), 5.0)
    assert len(answer.items) == 5
    assert (items(), best(), explained()) == (5, 5, 5)
    assert popular.best == frozenset(CATALOGUE[:100])
