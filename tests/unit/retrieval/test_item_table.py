"""The masks of the item table are those that the conditions mean."""

import random
from collections.abc import Mapping

import numpy as np
import pytest

from recmesh.conditions import Condition, item_values
from recmesh.errors import InvalidRequest
from recmesh.features import Catalogue
from recmesh.features.spec import Field
from recmesh.retrieval import item_table
from recmesh.retrieval.item_table import ItemTable

MISSING = ("", "NA")
FIELDS = (
    Field(name="cate", kind="categorical"),
    Field(name="genres", kind="multi", separator="|", width=2),
    Field(name="price", kind="numeric"),
)


def table(*sku_ids: str) -> ItemTable:
    numbers = np.empty((len(sku_ids), 0), np.float32)
    return ItemTable(Catalogue.build(sku_ids, [], numbers), FIELDS, MISSING)


def found(made: ItemTable, *texts: str) -> list[int]:
    rows: list[int] = np.flatnonzero(made.mask(list(map(Condition.parse, texts)))).tolist()
    return rows


def random_fields(rng: random.Random) -> dict[str, str]:
    fields = {
        "cate": rng.choice(["1", "2", "3", "NA", ""]),
        "genres": rng.choice(["a", "a|b", " b | c ", "c||a", "|", "NA", "b|b"]),
        "price": rng.choice(["1", "1.0", "2.5", "-3e1", "cheap", ""]),
        "title": rng.choice(["one", "two, three", "NA"]),
    }
    return {name: text for name, text in fields.items() if rng.random() < 0.8}


def random_condition(rng: random.Random) -> Condition:
    field = rng.choice(["cate", "genres", "price", "title", "sku_id"])
    values = ["1", "2", "a", "b", "c", "1.0", "one", "two, three", "NA", "", "i3", "i7", "unheard of", "x1"]
    bounds = [None, None, -30.0, 0.0, 1.0, 2.5, 100.0]
    while True:
        try:
            return Condition(
                field,
                tuple(rng.sample(values, rng.choice([0, 1, 3]))),
                tuple(rng.sample(values, rng.choice([0, 1, 3]))),
                rng.choice(bounds),
                rng.choice(bounds),
            )
        except ValueError:
            continue


@pytest.mark.parametrize("sorted_from", [1, 4_096])
def test_a_mask_has_the_items_that_meet_the_conditions(monkeypatch: pytest.MonkeyPatch, sorted_from: int) -> None:
    """Items are added, changed and taken back meanwhile."""
    monkeypatch.setattr(item_table, "_MIN_SORTED", sorted_from)
    rng = random.Random(7)
    made = table(*(f"i{number}" for number in range(20)))
    known: dict[str, Mapping[str, str]] = {}
    for _ in range(300):
        sku_ids = rng.sample([f"i{number}" for number in range(20)] + [f"x{number}" for number in range(9)], 4)
        changes = {sku_id: random_fields(rng) if rng.random() < 0.8 else None for sku_id in sku_ids}
        made.put(changes)
        known = {sku_id: fields for sku_id, fields in {**known, **changes}.items() if fields is not None}
        made.put({"i0": {"title": "one"}})  # from the start there is a title
        known["i0"] = {"title": "one"}
        conditions = [random_condition(rng) for _ in range(rng.choice([1, 1, 2, 3]))]
        mask = made.mask(conditions)
        passing = {
            sku_id
            for sku_id, fields in known.items()
            if all(c.met_by(item_values(sku_id, fields, {"genres": "|"}, MISSING)) for c in conditions)
        }
        rows = {row for sku_id in passing if (row := made.row(sku_id)) is not None}
        assert len(rows) == len(passing)
        assert set(np.flatnonzero(mask).tolist()) == rows


def test_items_of_the_catalogue_have_its_numbers_and_pass_nothing_before_their_fields_are_known() -> None:
    made = table("a", "b", "c")
    assert found(made, "cate!=1") == []
    made.put({"c": {"cate": "1"}, "x": {"cate": "1"}, "a": {}})
    assert (made.row("c"), made.row("x"), made.row("y")) == (2, 3, None)
    assert found(made, "cate=1") == [2, 3]
    assert found(made, "cate!=1") == [0]
    made.put({"x": None})
    assert found(made, "cate=1") == [2]


def test_a_field_that_no_item_has_is_refused() -> None:
    made = table("a")
    made.put({"a": {"title": "one"}})
    with pytest.raises(InvalidRequest) as error:
        made.mask([Condition.parse("color=red")])
    names = "sku_id, cate, genres, price, title"
    assert str(error.value) == f"filter: item field 'color' is unknown: use one of {names}"
    made.put({"a": {f"field {number:02}": "1" for number in range(40)}})
    with pytest.raises(InvalidRequest, match=r"field 26, field 27 and 15 others$"):
        made.mask([Condition.parse("color=red")])


def test_many_changes_leave_a_table_crowded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_table, "_MIN_SORTED", 4)
    made = table("a", "b")
    for number in range(8):
        made.put({"a": {"cate": str(number)}})
        assert not made.crowded
    made.put({"a": {"cate": "8"}})
    assert made.crowded
    assert found(made, "cate=8") == [0]
    assert found(made, "cate=7") == []
