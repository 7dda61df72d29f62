"""What each kind of rule makes of a ranked list, and how the kinds work together."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recmesh.rules import KINDS, NO_RULES, Ordered, RankedItems, RequestRules, RuleSet
from recmesh.rules.model import Rule
from recmesh.rules.ordering import time_of

NOW = 1_800_000_000.0
DAY = 86_400.0
IDS = list("abcdefghij")


def rule(name: str, kind: str, **keys: Any) -> Rule:
    (found,) = RuleSet.model_validate({"rules": [{"name": name, "kind": kind, **keys}]}).rules
    return found


def items(
    ids: Sequence[str] = IDS,
    fields: Mapping[str, Sequence[str]] | None = None,
    vectors: Sequence[Sequence[float]] | None = None,
    pinned: Sequence[str] = (),
) -> RankedItems:
    """Ranked items with one value per field, given as text or letters; more ids that only a pin can show."""
    columns = {name: [(value,) if value else () for value in values] for name, values in (fields or {}).items()}
    return RankedItems(
        [*ids, *pinned],
        len(ids),
        columns if fields is not None else None,
        None if vectors is None else np.array(vectors, np.float32),
    )


def order(rules: Sequence[Rule], given: RankedItems, size: int = 10) -> tuple[str, Ordered]:
    ordered = RequestRules(rules).order(given, size, NOW)
    return "".join(given.ids[position] for position in ordered.positions), ordered


def names(ordered: Ordered, given: RankedItems) -> dict[str, list[str]]:
    return {given.ids[position]: list(moved) for position, moved in sorted(ordered.rules.items())}


def test_without_rules_the_best_items_follow_in_their_order() -> None:
    assert not NO_RULES
    assert order([], items(), 3)[0] == "abc"


def test_pinned_items_stand_at_their_positions() -> None:
    given = items(pinned="XY")
    found, ordered = order([rule("p", "pin", items=["X", "f", "Y"], position=2)], given, 6)
    assert found == "aXfYbc"
    assert names(ordered, given) == {"X": ["p"], "f": ["p"], "Y": ["p"]}


def test_the_earlier_of_two_pins_keeps_its_position() -> None:
    pins = [rule("p", "pin", items=["i", "j"], position=1), rule("q", "pin", items=["h", "i"], position=2)]
    found, ordered = order(pins, items())
    assert found == "ijhabcdefg"
    assert names(ordered, items()) == {"h": ["q"], "i": ["p"], "j": ["p"]}


def test_pinned_items_that_cannot_be_shown_leave_no_gap() -> None:
    found, _ = order([rule("p", "pin", items=["gone", "j"], position=2)], items(), 4)
    assert found == "ajbc"


def test_a_pin_behind_a_short_list_stands_at_its_end() -> None:
    assert order([rule("p", "pin", items=["X"], position=9)], items("ab", pinned="X"))[0] == "abX"
    assert order([rule("p", "pin", items=["X"], position=9)], items("abc", pinned="X"), 3)[0] == "abc"


CATE = {"cate": "1211112112"}
"""The categories of a to j."""


def test_a_boost_divides_places() -> None:
    """b, g and j have the places 2, 7 and 10: they get 1, 3.5 and 5, before a and e with equal places."""
    boost = rule("up", "boost", factor=2, when="cate=2")
    given = items(fields=CATE)
    found, ordered = order([boost], given)
    assert found == "bacgdjefhi"
    assert names(ordered, given) == {"b": ["up"], "g": ["up"], "j": ["up"]}


def test_bury_multiplies_places() -> None:
    """a, c and d have the places 1, 3 and 4: they get 3, 9 and 12, and c follows i, which has place 9."""
    given = items(fields={"cate": "1211222222"})
    found, ordered = order([rule("down", "bury", factor=3, when="cate=1")], given)
    assert found == "baefghicjd"
    assert names(ordered, given) == {"a": ["down"], "c": ["down"], "d": ["down"]}


def test_factors_multiply_and_equal_ones_change_nothing() -> None:
    given = items(fields=CATE)
    both = [rule("up", "boost", factor=4, when="cate=2"), rule("down", "bury", factor=2, when="cate=2")]
    assert order(both, given)[0] == "bacgdjefhi"
    everything = rule("all", "boost", factor=7, when="cate=1,2")
    found, ordered = order([everything], given)
    assert (found, ordered.rules) == ("abcdefghij", {})


def test_excluded_items_are_left_out_and_the_next_ones_follow() -> None:
    given = items(fields=CATE)
    found, ordered = order(
        [rule("no", "exclude", when="cate=2"), rule("never", "exclude", when="sku_id=a,b")], given, 5
    )
    assert found == "cdefh"
    assert ordered.excluded == {1: "no", 6: "no", 9: "no", 0: "never"}


def test_all_conditions_of_a_rule_must_be_met() -> None:
    given = items(fields={**CATE, "price": ["1", "2", "3", "4", "5", "6", "7", "", "x", "10"]})
    assert order([rule("no", "exclude", when=["cate=2", "price>=3"])], given)[0] == "abcdefhi"


def test_at_most_holds_back_items_with_the_same_value() -> None:
    given = items(fields={"brand": "xxxyxyyzxz"})
    found, ordered = order([rule("mix", "at_most", field="brand", count=2, first=6)], given)
    assert found == "abdfhjcegi"
    assert names(ordered, given) == {"c": ["mix"], "e": ["mix"], "g": ["mix"], "i": ["mix"]}


def test_items_without_a_value_have_no_limit() -> None:
    given = items("abcde", fields={"brand": ["x", "x", "", "", "x"]})
    assert order([rule("mix", "at_most", field="brand", count=1)], given, 3)[0] == "acd"


def test_a_limit_gives_way_when_nothing_else_is_left() -> None:
    given = items(fields={"brand": "xxxxxxxxxy"})
    assert order([rule("mix", "at_most", field="brand", count=1)], given, 5)[0] == "ajbcd"


def test_an_item_counts_for_each_of_its_values() -> None:
    given = RankedItems(list("abcd"), 4, {"genre": [("x", "y"), ("y",), ("x",), ("z",)]})
    assert order([rule("mix", "at_most", field="genre", count=1)], given, 2)[0] == "ad"


def test_freshness_gives_a_share_to_fresh_items() -> None:
    """Of the first p items, p / 3 are fresh, rounded down: the third and the sixth, as none comes by itself."""
    old, new = "2020-01-01", "2027-01-10"
    given = items(fields={"listed": [old] * 6 + [new] * 4})
    found, ordered = order([rule("new", "freshness", field="listed", days=30, share=1 / 3, first=6)], given)
    assert found == "abgcdhefij"
    assert names(ordered, given) == {"g": ["new"], "h": ["new"]}


def test_freshness_counts_items_that_are_there_anyway() -> None:
    given = items(fields={"listed": ["2027-01-10", *["2020-01-01"] * 8, "2027-01-10"]})
    assert order([rule("new", "freshness", field="listed", days=30, share=0.1)], given)[0] == "abcdefghij"


def test_tenths_are_not_rounded_down_twice() -> None:
    """3 * 0.1 / 0.3 and the like are not whole in binary."""
    given = items(fields={"listed": ["2020-01-01"] * 9 + ["2027-01-10"]})
    for share, place in ((0.1, 10), (0.2, 5), (0.3, 4), (0.7, 2)):
        found = order([rule("new", "freshness", field="listed", days=30, share=share)], given)[0]
        assert found.index("j") + 1 == place


PAIRS = [[1, 0], [1, 0], [0, 1], [0, 1], [1, 1]] * 2


def test_diversity_puts_different_items_next_to_each_other() -> None:
    given = items("abcde", vectors=PAIRS[:5])
    found, ordered = order([rule("mmr", "diversity", strength=0.5)], given)
    assert found == "acebd"
    assert names(ordered, given) == {"c": ["mmr"], "e": ["mmr"]}


def test_diversity_is_mmr_over_discounted_places() -> None:
    """The same list as the definition gives, item by item."""
    generator = np.random.default_rng(7)
    vectors = generator.normal(size=(10, 4))
    centred = vectors.astype(np.float32).astype(float) - vectors.astype(np.float32).astype(float).mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    for strength in (0.1, 0.5, 0.9, 1.0):
        left, expected = list(range(10)), list[int]()
        while left:
            worth = {i: (1 - strength) / math.log2(2 + i) for i in left}
            alike = {i: max([0.0, *(float(unit[i] @ unit[j]) for j in expected)]) for i in left}
            chosen = max(left, key=lambda i: (worth[i] - strength * alike[i], -i))
            left.remove(chosen)
            expected.append(chosen)
        _, ordered = order([rule("mmr", "diversity", strength=strength)], items(vectors=vectors.tolist()))
        assert list(ordered.positions) == expected


def test_diversity_ends_after_its_first_items() -> None:
    found, _ = order([rule("mmr", "diversity", strength=0.9, first=2)], items(vectors=PAIRS))
    assert found == "acbdefghij"


def test_the_first_diversity_rule_counts_and_strength_0_is_none() -> None:
    weak, strong = rule("weak", "diversity", strength=0), rule("strong", "diversity", strength=0.9, first=2)
    assert not RequestRules([weak]).needs_vectors
    found, ordered = order([weak, strong, rule("last", "diversity", strength=0.1)], items(vectors=PAIRS))
    assert found == "acbdefghij"
    assert names(ordered, items()) == {"c": ["strong"]}


def test_an_item_without_a_vector_resembles_nothing() -> None:
    assert (
        order([rule("mmr", "diversity", strength=0.9)], items("abcd", vectors=[[1, 0], [1, 0], [0, 0], [0, 1]]))[0]
        == "acdb"
    )


def test_all_kinds_together_follow_the_precedence() -> None:
    """b is excluded although it is pinned, so that h stands at place 2. j goes from place 8 of the rest to 4.

    With h and a, two items of brand x are there, so that c waits until place 6. f is the fresh item of the first three.
    """
    given = items(
        fields={
            "brand": "xyxyzzyxzz",
            "listed": ["2020-01-01"] * 5 + ["2027-01-10"] + ["2020-01-01"] * 4,
            "sale": "0000000001",
        },
        vectors=[[1, 0]] * 10,
    )
    rules = [
        rule("similar", "diversity", strength=0.5),
        rule("new", "freshness", field="listed", days=30, share=0.34, first=3),
        rule("mix", "at_most", field="brand", count=2, first=5),
        rule("top", "pin", items=["b", "h"], position=2),
        rule("sale", "boost", factor=2, when="sale=1"),
        rule("no", "exclude", when="sku_id=b"),
    ]
    found, ordered = order(rules, given)
    assert found == "ahfdjcegi"
    assert ordered.excluded == {1: "no"}
    assert names(ordered, given) == {"c": ["mix"], "f": ["new"], "h": ["top"], "j": ["sale"]}


def test_limits_come_before_freshness() -> None:
    given = items("abcd", fields={"brand": "xyxz", "listed": ["1", "1", str(NOW), "1"]})
    rules = [
        rule("mix", "at_most", field="brand", count=1, first=3),
        rule("new", "freshness", field="listed", days=1, share=1, first=3),
    ]
    found, ordered = order(rules, given)
    assert found == "cbda"
    assert names(ordered, given) == {"a": ["mix"], "c": ["new"]}


def test_rules_that_read_unknown_fields_are_skipped() -> None:
    rules = [
        rule("no", "exclude", when="cate=1"),
        rule("id", "exclude", when="sku_id=b"),
        rule("up", "boost", factor=9, when="cate=2"),
    ]
    found, ordered = order(rules, items(), 3)
    assert (found, list(ordered.skipped)) == ("acd", ["rules"])


def test_diversity_without_vectors_is_skipped() -> None:
    rules = [rule("mmr", "diversity", strength=0.5), rule("no", "exclude", when="sku_id=a")]
    found, ordered = order(rules, items(), 3)
    assert (found, list(ordered.skipped)) == ("bcd", ["rules:diversity"])


def test_what_rules_need() -> None:
    pins = RequestRules(
        [rule("p", "pin", items=["a", "b"], position=1), rule("q", "pin", items=["b", "c"], position=7)]
    )
    assert (pins.pinned, pins.reorders, pins.needs_vectors, pins.fields) == (("a", "b", "c"), False, False, frozenset())
    others = RequestRules(
        [
            rule("mix", "at_most", field="brand", count=1),
            rule("new", "freshness", field="listed", days=1, share=1),
            rule("no", "exclude", when=["cate=1", "sku_id=4"]),
        ]
    )
    assert (others.reorders, others.fields) == (True, frozenset(("brand", "listed", "cate")))
    assert [others.kind(name) for name in ("mix", "new", "no")] == ["at_most", "freshness", "exclude"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2027-01-15", 1_799_971_200.0),
        ("2027-01-15T08:00:00Z", NOW),
        ("2027-01-15 09:00:00+01:00", NOW),
        ("2027-01-15T08:00:00", NOW),
        ("1800000000", NOW),
        ("1800000000000", NOW),
    ],
)
def test_times_have_several_forms(text: str, seconds: float) -> None:
    assert time_of(text) == seconds


@pytest.mark.parametrize("text", ["", "spring", "2027-13-01", "15.01.2027", "nan", "Z"])
def test_other_texts_are_no_times(text: str) -> None:
    assert math.isnan(time_of(text))


_SOME = st.sampled_from(["1", "2", "3", ""])
_IDS = st.lists(st.sampled_from([*IDS, "X", "Y"]), min_size=1, max_size=4, unique=True)
_WHEN = st.sampled_from(["cate=1", "cate!=2", "price>=2", "sku_id=a,c,X"])
_FIRST = st.integers(1, 12)
_RULES = st.one_of(
    st.builds(lambda i, p: {"kind": "pin", "items": i, "position": p}, _IDS, st.integers(1, 15)),
    st.builds(
        lambda k, w, f: {"kind": k, "when": w, "factor": f}, st.sampled_from(["boost", "bury"]), _WHEN, st.floats(1, 50)
    ),
    st.builds(lambda w: {"kind": "exclude", "when": w}, _WHEN),
    st.builds(lambda f, c: {"kind": "at_most", "field": "cate", "first": f, "count": c}, _FIRST, st.integers(1, 3)),
    st.builds(lambda f, s: {"kind": "diversity", "strength": s, "first": f}, _FIRST, st.floats(0, 1)),
    st.builds(
        lambda f, s: {"kind": "freshness", "field": "price", "days": 1, "share": s, "first": f}, _FIRST, st.floats(0, 1)
    ),
)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(_RULES, max_size=8),
    st.lists(st.tuples(_SOME, _SOME), min_size=12, max_size=12),
    st.integers(0, 10),
    st.integers(1, 14),
    st.booleans(),
)
def test_no_item_is_lost_or_doubled(
    drawn: Sequence[dict[str, Any]], values: Sequence[tuple[str, str]], ranked: int, size: int, described: bool
) -> None:
    """And lists are full: as long as the items that no rule excludes, with those that are pinned, allow."""
    rules = [rule(str(number), **keys) for number, keys in enumerate(drawn)]
    columns = {name: [(v[at],) if v[at] else () for v in values] for at, name in enumerate(("cate", "price"))}
    ids = [*IDS[:ranked], "X", "Y"]
    columns = {name: [column[(*IDS, "X", "Y").index(sku_id)] for sku_id in ids] for name, column in columns.items()}
    vectors = np.random.default_rng(ranked).normal(size=(ranked, 3)).astype(np.float32)
    given_items = RankedItems(ids, ranked, columns if described else None, vectors)
    ordered = RequestRules(rules).order(given_items, size, NOW)
    positions = list(ordered.positions)
    assert len(set(positions)) == len(positions)
    assert not set(positions) & ordered.excluded.keys()
    pinned = {sku_id for each in rules if each.kind == "pin" for sku_id in each.items}
    allowed = {at for at, sku_id in enumerate(ids) if at not in ordered.excluded and (at < ranked or sku_id in pinned)}
    assert set(positions) <= allowed
    first_places = {each.position for each in rules if each.kind == "pin"}
    if max(first_places, default=0) <= size:
        assert len(positions) >= min(size, len({at for at in allowed if at < ranked}))
    assert len(positions) <= size
    assert set(ordered.rules) <= set(range(len(ids)))
    assert {name for moved in ordered.rules.values() for name in moved} <= {each.name for each in rules}


def test_every_kind_is_drawn() -> None:
    assert set(KINDS) == {"pin", "boost", "bury", "exclude", "at_most", "diversity", "freshness"}
