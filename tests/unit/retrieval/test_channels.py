"""Channels and their merge."""

from dataclasses import replace

import numpy as np
import pytest

from recmesh.features import Encoder, Lists, User
from recmesh.features.spec import DAY_MS, Channel, Floats, Ints, Mask
from recmesh.features.user import NO_ITEMS
from recmesh.kernels import Scratch
from recmesh.retrieval import IN_MEMORY, Retriever, Scored, below, merge
from recmesh.retrieval.channels import bought_before, neighbours, popular, popular_for, two_tower
from recmesh.retrieval.scored import best
from tests.unit.features.toy import AS_OF, encoder
from tests.unit.retrieval.test_new import with_new_items

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


@pytest.mark.parametrize("name", [*IN_MEMORY, "two_tower"])
def test_a_channel_drops_what_a_filter_does_not_let_pass_before_it_cuts_its_list(name: str) -> None:
    made = with_new_items()
    user, vector = buyer(made, "a", "c", "b"), np.array([1, 3, 1], np.float32)
    rates = Scored(np.array([3, 0, 4], np.int32), np.array([3, 2, 1], np.float32))

    def found(depth: int, allowed: Mask | None = None, exclude: Ints = NO_ITEMS) -> list[int]:
        if name == "two_tower":
            nearest = two_tower(made, vector, made.item_vectors[:-1], exclude, depth, allowed)
        else:
            retriever = Retriever(made)
            nearest = retriever.in_memory(user, [name], exclude, depth, False, vector, allowed, rates)[name]
        items: list[int] = nearest.items.tolist()
        return items

    whole = found(5)
    assert len(whole) >= 2
    for numbers in range(2**5):
        allowed = np.array([bool(numbers >> item & 1) for item in range(5)])
        expected = [item for item in whole if allowed[item]]
        for depth in range(1, 6):
            if name == "neighbours":  # fused from positions, which a filter changes
                assert len(found(depth, allowed)) == min(depth, len(expected))
                assert set(found(depth, allowed)) <= set(expected)
            else:
                assert found(depth, allowed) == expected[:depth]
        without = {item for item in expected if item != whole[0]}
        assert set(found(5, allowed, np.array(whole[:1], np.int32))) == without


def lists(neighbours: dict[int, tuple[int, float]]) -> Lists:
    """Make lists in which an item has one neighbour, or none."""
    start = np.cumsum([0, *(item in neighbours for item in range(5)), 0])
    items, scores = zip(*(neighbours[item] for item in sorted(neighbours)), strict=True)
    return Lists(start.astype(np.int64), np.array(items, np.int32), np.array(scores, np.float32))


def test_neighbours_are_fused_from_the_ridge_lists_and_the_cosine_lists_with_and_without_recency() -> None:
    """Each by position: ridge c, 00123; cosine d, b; and b, d by recency, where the vote of c is 0.7 * 0.6."""
    made = encoder()
    ridge, cosine = lists({0: (2, 0.9), 2: (4, 0.8)}), lists({0: (1, 0.5), 2: (3, 0.6)})
    statistics = replace(made.statistics, ridge=ridge, cosine=cosine)
    vocabularies = (made._user_vocabularies, made._item_vocabularies)
    made = Encoder(made.spec, *vocabularies, made.catalogue, statistics, made.item_vectors)
    found = neighbours(made, buyer(made, "a", "c"), NO_ITEMS, 9)
    assert found.items.tolist() == [1, 3, 2, 4]
    assert found.scores.tolist() == pytest.approx([1 / 62 + 1 / 61, 1 / 61 + 1 / 62, 1 / 61, 1 / 62])
    found = neighbours(made, buyer(made, "a", "c"), np.array([1], np.int32), 2)
    assert found.items.tolist() == [3, 2]
    assert found.scores.tolist() == pytest.approx([2 / 61, 1 / 61])
    assert len(neighbours(made, buyer(made), NO_ITEMS, 9).items) == 0


def with_lifts(made: Encoder, by_item: dict[int, float]) -> Encoder:
    """Give items lifts with every profile."""

    def lifts(codes: Ints, items: Ints) -> list[Floats]:
        return [np.array([by_item.get(item, 0) for item in items.tolist()], np.float32) for _ in codes]

    made.lifts = lifts  # type: ignore[method-assign]
    return made


def test_popular_items_are_fused_from_each_measure_plus_the_lift_of_which_decayed_ones_get_half() -> None:
    """By hand, log shares plus lifts: a, 00123, b, c, d; and 00123, b, c, d, a by the popularity of four days."""
    made = with_lifts(encoder(), {0: 1.3, 1: 1.0, 4: 3.0})
    found = popular_for(made, np.array([2], np.int32).tobytes())
    assert found.items.tolist() == [4, 1, 0, 2, 3]
    expected = [1 / 62 + 1 / 61, 1 / 63 + 1 / 62, 1 / 61 + 1 / 65, 1 / 64 + 1 / 63, 1 / 65 + 1 / 64]
    assert found.scores.tolist() == pytest.approx(expected)


def test_popular_items_come_from_listed_measures_and_from_the_top_of_the_profile() -> None:
    """Of code 3 only b is known, so 00123 is not in the pool."""
    made = with_lifts(encoder(), {})
    first, second = made.spec.popularities
    hidden = second.model_copy(update={"listed": False})
    made.spec = made.spec.model_copy(update={"popularities": (first, hidden)})
    found = popular_for(made, np.array([3], np.int32).tobytes())
    assert found.items.tolist() == [0, 1, 2, 3]
    assert found.scores.tolist() == pytest.approx([1 / 61, 1 / 62, 1 / 63, 1 / 64])


def test_the_rest_of_the_catalogue_follows_the_popular_items_with_lower_scores() -> None:
    made, ranked = encoder(), Scored(np.array([2, 4], np.int32), np.array([0.5, 0.25], np.float32))
    found = popular(made, ranked, np.array([0, 4], np.int32), 3)
    assert found.items.tolist() == [2, 1, 3]
    assert found.scores.tolist() == pytest.approx([0.5, 1 / (60 + 2 + 60), 1 / (60 + 2 + 120)])
    assert popular(made, ranked, NO_ITEMS, 2).items.tolist() == [2, 4]
    assert popular(made, ranked, NO_ITEMS, 1).scores.tolist() == [0.5]


def test_items_of_the_history_score_by_their_number_of_times_and_then_by_recency() -> None:
    made = encoder()
    found = bought_before(made, buyer(made, "a", "c", "a"), NO_ITEMS, 9)
    assert found.items.tolist() == [0, 2]
    assert found.scores.tolist() == pytest.approx([2 + 1, 1 + 0.7])
    assert bought_before(made, buyer(made, "a", "c"), np.array([0], np.int32), 9).items.tolist() == [2]
    assert bought_before(made, buyer(made, "a", "c"), NO_ITEMS, 1).items.tolist() == [0]


def test_a_channel_has_the_depth_of_its_quota_in_the_segment_unless_another_is_asked_for() -> None:
    made = encoder()
    quotas = {"cold": {"popular": Channel(depth=2)}, "novel": {"popular": Channel(depth=3)}, "repeat": {}}
    made.spec = made.spec.model_copy(update={"channels": quotas})
    retriever = Retriever(made)

    def count(user: User, depth: int | None = None, new_only: bool = False) -> int:
        return len(retriever.in_memory(user, ["popular"], depth=depth, new_only=new_only)["popular"].items)

    assert (count(buyer(made)), count(buyer(made), 4), count(buyer(made, "a"), new_only=True)) == (2, 4, 3)
    assert count(buyer(made, "a")) == 5, "a channel without a quota has the usual depth"


def test_exact_retrieval_runs_the_channels_of_the_segment_with_their_depths() -> None:
    made = encoder()
    quotas = {"two_tower": Channel(depth=2), "popular": Channel(depth=1)}
    made.spec = made.spec.model_copy(update={"channels": {"cold": quotas, "novel": {"new": Channel()}, "repeat": {}}})
    retriever, vector = Retriever(made), np.array([1, 2, 3], np.float32)
    vectors = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 0, 0]], np.float32)
    exclude = np.array([2], np.int32)
    found = retriever.exact(buyer(made), vector, vectors, exclude, new_only=False)
    assert set(found) == {"two_tower", "popular"}
    assert (found["two_tower"].items.tolist(), found["two_tower"].scores.tolist()) == ([3, 1], [3, 2])
    assert len(found["popular"].items) == 1
    assert set(retriever.exact(buyer(made, "a"), vector, vectors, exclude, new_only=True)) == {"new"}


def test_exact_retrieval_has_the_depths_of_the_segment_of_the_request() -> None:
    made = encoder()
    depths = {
        segment: {"popular": Channel(depth=depth)} for segment, depth in (("cold", 1), ("novel", 2), ("repeat", 3))
    }
    made.spec = made.spec.model_copy(update={"channels": depths})
    vector, vectors = np.ones(3, np.float32), np.eye(5, 3, dtype=np.float32)
    found = [
        Retriever(made).exact(user, vector, vectors, NO_ITEMS, new_only)["popular"].items
        for user, new_only in ((buyer(made), False), (buyer(made, "a"), True), (buyer(made, "a"), False))
    ]
    assert [len(items) for items in found] == [1, 2, 3]


def test_items_are_excluded_by_id_and_by_the_history_if_only_new_ones_are_wanted() -> None:
    for repeats, new_only, expected in ((True, False, [3]), (True, True, [0, 3]), (False, False, [0, 3])):
        made = encoder(repeats)
        assert Retriever(made).excluded(buyer(made, "a"), new_only, ["d", "x"]).tolist() == expected
    made = encoder()
    assert Retriever(made).excluded(buyer(made, "a"), False).tolist() == []


def test_a_merged_list_has_the_size_that_the_ranker_is_trained_on() -> None:
    made = encoder()
    made.spec = made.spec.model_copy(update={"candidates": 2})
    retriever, channels = Retriever(made), {"popular": scored(4, 2, 1)}
    assert retriever.merge(channels, "cold").items.tolist() == [4, 2]
    assert retriever.merge(channels, "cold", 3).items.tolist() == [4, 2, 1]


def test_a_merged_item_scores_its_weights_by_its_positions() -> None:
    merged = merge({"x": scored(1, 2), "y": scored(2, 3)}, {"y": Channel(weight=3)}, 10, SCRATCH)
    assert merged.items.tolist() == [2, 3, 1]
    assert merged.scores.tolist() == pytest.approx([1 / 62 + 3 / 61, 3 / 62, 1 / 61])
    positions, scores = merged.channels["y"]
    assert (positions.tolist(), scores.tolist()) == ([0, 1], pytest.approx([1, 0.1]))


def test_scores_below_a_list_fall_and_stay_positive() -> None:
    assert below(np.array([9, 6], np.float32), 3).tolist() == [3, 2, 1.5]
    assert below(np.empty(0, np.float32), 2).tolist() == pytest.approx([1 / 2, 1 / 3])


def test_channels_of_weight_0_keep_their_order_and_repeat_no_item() -> None:
    """Of 40 places, 5 % are reserved; more are free if the others do not fill the list."""
    last = {"y": Channel(weight=0), "z": Channel(weight=0)}
    channels = {"x": scored(*range(1, 40)), "y": scored(95, 5, 90), "z": scored(90, 80)}
    merged = merge(channels, last, 40, Scratch(100))
    assert merged.items.tolist() == [*range(1, 39), 95, 90]
    assert merge({"x": scored(1, 2), "y": scored(9, 8, 7)}, last, 4, Scratch(100)).items.tolist() == [1, 2, 9, 8]


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
