"""Every input of the ranker is in one group, and only the constant ones are in none."""

import numpy as np

from recmesh.features.feature_groups import feature_groups
from recmesh.features.spec import SEGMENTS
from tests.unit.features.toy import encoder


def test_each_input_is_in_one_group_except_those_that_are_equal_for_all_items() -> None:
    spec = encoder().spec
    groups = {group.name: group for group in feature_groups(spec)}
    dense = [spec.dense[column] for group in groups.values() for column in group.dense]
    assert len(dense) == len(set(dense))
    assert set(spec.dense) - set(dense) == {"user_items", "user_moments", "user_recency"}
    sparse = sorted(column for group in groups.values() for column in group.sparse)
    assert sparse == list(range(1, len(spec.columns)))  # 0 is the segment
    names = {name: [spec.dense[column] for column in group.dense] for name, group in groups.items()}
    assert names["two_tower"] == ["tower"]
    assert names["age"] == ["age"]
    assert names["item.price"] == ["price_count", "price_lift", "price_items", "price_recent", "price_distance"]
    assert names["profile"] == ["lift_age", "cate_profile", "price_profile"]


def test_without_a_group_an_item_is_the_average_one_with_missing_values() -> None:
    made = encoder()
    inputs = made.ranker_inputs(made.user({"age": "1"}), np.arange(3, dtype=np.int32), False)
    average = inputs["dense"].mean(0)
    price = next(group for group in made.feature_groups if group.name == "item.price")
    without = price.without(inputs, average)
    changed = np.flatnonzero((without["dense"] != inputs["dense"]).any(0))
    assert set(changed) <= set(price.dense)
    assert (without["dense"][:, price.dense] == average[price.dense]).all()
    (column,) = price.sparse.tolist()
    offset = len(SEGMENTS) + sum(made.spec.columns[1:column])
    assert without["sparse"][:, column].tolist() == [offset] * 3
    assert (np.delete(without["sparse"], column, 1) == np.delete(inputs["sparse"], column, 1)).all()
