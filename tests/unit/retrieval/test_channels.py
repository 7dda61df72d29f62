"""Channels and their merge."""

import numpy as np
import pytest

from recmesh.features import Encoder, User
from recmesh.features.spec import DAY_MS, Channel
from recmesh.features.user import NO_ITEMS
from recmesh.kernels import Scratch
from recmesh.retrieval import Retriever, Scored, merge
from recmesh.retrieval.channels import two_tower
from recmesh.retrieval.scored import best
from tests.unit.features.toy import AS_OF, encoder

SCRATCH = Scratch(10)
ALL = ("two_tower", "neighbours", "popular", "bought_before")


def buyer(made: Encoder, *skus: str) -> User:
    """Make a user who ordered the items, newest first."""
    count = len(skus)
    return made.user({"age": "1"}, skus, [AS_OF - DAY_MS * n for n in range(count)], ["order"] * count, [1.0] * count)


def scored(*items: int) -> Scored:
    """Make a list of items, best first."""
    return Scored(np.array(items, np.int32), np.linspace(1, 0.1, len(items), dtype=np.float32))


def test_each_channel_returns_its_best_items_first() -> None:
    made = encoder()
    found = Retriever(made).in_memory(buyer(made, "a", "c", "a"), ALL)
    assert set(found) == {"neighbours", "popular", "bought_before"}
    assert found["bought_before"].items.tolist() == [0, 2]
    assert found["neighbours"].items.tolist()[0] in (1, 3)
    for channel in found.values():
        assert (np.diff(channel.scores) <= 0).all()
        assert len(set(channel.items.tolist())) == len(channel.items)


def test_other_items_take_the_place_of_excluded_ones() -> None:
    made = encoder()
    retriever = Retriever(made)
    user = buyer(made, "a")
    exclude = retriever.excluded(user, new_only=True, exclude_ids=["b", "no such item"])
    assert exclude.tolist() == [0, 1]
    for channel in retriever.in_memory(user, ALL, exclude, depth=3).values():
        assert not set(channel.items.tolist()) & {0, 1}


def test_popular_returns_the_entire_catalogue_if_asked() -> None:
    made = encoder()
    retriever = Retriever(made)
    everything = retriever.in_memory(buyer(made), ["popular"], depth=50)["popular"]
    assert sorted(everything.items.tolist()) == [0, 1, 2, 3, 4]
    assert (np.diff(everything.scores) <= 0).all()
    rest = retriever.in_memory(buyer(made), ["popular"], everything.items[:4], depth=50)["popular"]
    assert rest.items.tolist() == everything.items[4:].tolist()


def test_popular_depends_on_the_profile() -> None:
    made = encoder()
    retriever = Retriever(made)
    lists = [retriever.in_memory(made.user({"age": age}), ["popular"])["popular"].items.tolist() for age in ("1", "2")]
    assert lists[0] != lists[1]


def test_a_repeated_request_gets_the_same_answer() -> None:
    made = encoder()
    retriever = Retriever(made)
    user = buyer(made, "a", "b")
    first, second = (retriever.in_memory(user, ALL) for _ in range(2))
    for name in first:
        assert first[name].items.tolist() == second[name].items.tolist()


def test_exact_search_leaves_out_excluded_items() -> None:
    vectors = np.array([[1, 0], [3, 0], [2, 0]], np.float32)
    user = np.array([1, 1], np.float32)
    assert two_tower(encoder(), user, vectors, NO_ITEMS, 2).items.tolist() == [1, 2]
    assert two_tower(encoder(), user, vectors, np.array([1], np.int32), 9).items.tolist() == [2, 0]


def test_ties_are_ordered_by_item_number() -> None:
    items, scores = np.array([7, 3, 5, 1], np.int32), np.ones(4, np.float32)
    assert best(items, scores, 2, SCRATCH).items.tolist() == [1, 3]


def test_merge_prefers_items_of_several_channels() -> None:
    merged = merge({"x": scored(1, 2), "y": scored(2, 3)}, {}, 10, SCRATCH)
    assert merged.items.tolist() == [2, 1, 3]
    assert (np.diff(merged.scores) <= 0).all()


def test_merge_obeys_weights_quotas_and_size() -> None:
    channels = {"x": scored(1, 2, 3), "y": scored(4, 5)}
    heavy = merge(channels, {"y": Channel(weight=5)}, 3, SCRATCH)
    assert heavy.items.tolist() == [4, 5, 1]
    short = merge(channels, {"x": Channel(depth=1), "y": Channel(depth=0)}, 3, SCRATCH)
    assert short.items.tolist() == [1]
    assert set(short.channels) == {"x"}


def test_merge_puts_channels_of_weight_0_last() -> None:
    scratch = Scratch(100)
    channels = {"x": scored(*range(1, 41)), "y": scored(2, 90, 91, 92)}
    last = {"y": Channel(weight=0)}
    assert merge(channels, last, 50, scratch).items.tolist() == [*range(1, 41), 90, 91, 92]
    full = merge(channels, last, 40, scratch)  # 5 % of the places are reserved
    assert full.items.tolist() == [*range(1, 39), 90, 91]
    assert full.scores[-2:].tolist() == [full.scores[-3] / np.float32(2), full.scores[-3] / np.float32(3)]
    assert merge({"y": scored(90, 91)}, last, 1, scratch).items.tolist() == [90]


def test_merge_records_the_items_of_each_channel() -> None:
    channels = {"x": scored(1, 2, 3), "y": scored(3, 9)}
    merged = merge(channels, {}, 3, SCRATCH)
    for name, (positions, scores) in merged.channels.items():
        given = dict(zip(channels[name].items.tolist(), channels[name].scores.tolist(), strict=True))
        for position, score in zip(positions, scores, strict=True):
            assert given[int(merged.items[position])] == pytest.approx(float(score))
    assert merged.items.tolist() == [3, 1, 2]
    assert {name: len(part[0]) for name, part in merged.channels.items()} == {"x": 3, "y": 1}


def test_merge_of_empty_channels_is_empty() -> None:
    assert len(merge({}, {}, 5, SCRATCH).items) == 0
    assert len(merge({"x": Scored.none()}, {}, 5, SCRATCH).items) == 0
