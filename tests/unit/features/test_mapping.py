"""Mappings of imported models: slots, and the matrices that they fill."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from recmesh.features.mapped_inputs import MappedInputs, tables
from recmesh.features.mapping import ModelMapping
from recmesh.features.slot import Slot
from recmesh.features.spec import Ints
from recmesh.features.user import NO_ITEMS
from tests.unit.features.toy import encoder


def slot(**given: Any) -> Slot:
    """Make a slot of the user field `age`."""
    return Slot.model_validate({"from": "user.age", **given})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"vocabulary": {"a": 3}, "unknown": 1, "missing": 2}, {"a": 3, "b": 1, "": 2, None: 2}),
        ({"bounds": [10, 20]}, {"9.9": 0, "10": 1, "20.0": 2, "x": 0, None: 0}),
        ({"bounds": [10, 20], "missing": 7, "unknown": 8}, {"nan": 7, "1_000": 7, "x": 7, None: 7}),
        ({"number": {"subtract": 1, "divide": 2}}, {"5": 2.0, "1": 0.0, "x": 0, "1e39": 0, None: 0}),
        ({"number": {}, "missing": -0.5, "unknown": 9}, {"nan": -0.5, "inf": -0.5, "１": -0.5, None: -0.5, "1e39": 9}),
        ({"number": {"size": 5}, "unknown": 4}, {"3": 3, "5": 4, "-1": 4}),
        ({"hash": {"by": "crc32", "size": 1000, "prefix": "1"}}, {"23456789": 0xCBF43926 % 1000}),
    ],
)
def test_a_rule_gives_a_value_its_id(given: dict[str, Any], expected: dict[str | None, float]) -> None:
    assert {text: slot(**given).code(text) for text in expected} == expected


def test_a_hashed_field_without_a_value_has_the_hash_of_the_empty_text() -> None:
    hashed = slot(hash={"by": "crc32", "size": 1 << 32, "prefix": "123456789"})
    assert hashed.code(None) == hashed.code("") == 0xCBF43926
    assert slot(hash={"by": "crc32", "size": 7}, missing=5).code(None) == 5


def test_several_values_fill_the_columns_and_padding_fills_the_rest() -> None:
    several = slot(vocabulary={"a": 1, "b": 2, "c": 3}, split="|", width=3)
    assert several.columns("b|a") == [2, 1, 0]
    assert several.columns("c|b|a|x") == [3, 2, 1]
    assert several.columns(None) == [0, 0, 0]
    bag = {"vocabulary": {"a": 1, "b": 2}, "split": "|", "width": 4, "multi_hot": True}
    assert slot(**bag).columns("b|a|x") == [0, 1, 1, 0]
    assert slot(**bag, unknown=3).columns("b|a|x") == [0, 1, 1, 1]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({}, "exactly one of hash, vocabulary, bounds and number; found none"),
        ({"from": "shop.age", "bounds": [1]}, "is not user.FIELD"),
        ({"constant": 1}, "neither"),
        ({"vocabulary": {"a": -1}}, "ids must be non-negative integers"),
        ({"bounds": [1], "missing": 0.5}, "ids must be non-negative integers"),
        ({"hash": {"by": "md5", "size": 2**60}}, "too large for an id"),
        ({"bounds": [2, 1]}, "must be in ascending order"),
        ({"bounds": ["inf"]}, "finite"),
        ({"number": {"divide": 0}}, "must not be 0"),
        ({"bounds": [1], "multi_hot": True}, "multi_hot"),
        ({"hash": {"by": "sha1", "size": 3}}, "python2"),
    ],
)
def test_a_meaningless_slot_is_rejected(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        slot(**given)


def test_a_matrix_combines_user_item_and_history() -> None:
    toy = encoder()
    items = toy.catalogue.sku_ids
    ids = {sku: number for number, sku in enumerate(items, 1)}
    inputs = {
        "who": {"dtype": "int64", "slots": [{"from": "user.user_id", "vocabulary": {"u1": 7}}]},
        "past": {"dtype": "int64", "slots": [{"from": "history.sku_id", "vocabulary": ids, "width": 3}]},
        "what": {"dtype": "int64", "slots": [{"from": "item.sku_id", "vocabulary": ids}]},
        "bias": {"dtype": "float32", "slots": [{"constant": 0.5, "width": 2}]},
    }
    mapping = ModelMapping.model_validate({"inputs": inputs})
    made = MappedInputs("ranker", mapping, tables("ranker", mapping, {"sku_id": items}), ("",))
    user = toy.user({"user_id": "u1"}, items[:2], [2000, 1000], [toy.spec.action_types[0]] * 2, [1.0, 1.0])
    numbers: Ints = np.array([2, -1], np.int32)

    rows = made.of_items(user, numbers, [{"sku_id": items[0]}])

    assert rows["dense"].tolist() == [[0.5, 0.5]] * 3
    newest = [ids[sku] for sku in (items[0], items[1])]
    assert rows["sparse"].tolist() == [[7, *newest, 0, 3], [7, *newest, 0, 0], [7, *newest, 0, 1]]
    assert made.of_items(toy.user({}), NO_ITEMS, [{}])["sparse"].tolist() == [[0, 0, 0, 0, 0]]
