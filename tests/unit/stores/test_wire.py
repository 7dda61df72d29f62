"""Stored messages of users, items and histories."""

from recmesh.contract import DETAILED_ACTIONS
from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.pb.user_info_pb2 import History, UserInfo
from recmesh.stores.wire import encode_history, item_encoder, item_fields, user_encoder, user_fields


def test_fields_of_users_beyond_the_v0_contract_are_attributes() -> None:
    encode = user_encoder(["city", "income", "age", "country"])
    info = UserInfo.FromString(encode(("007", "176", "high", "5", None)))
    assert (info.user_id, info.age, info.city, info.country) == ("007", "5", "176", "")
    assert dict(info.attributes) == {"income": "high"}
    assert user_fields(info) == {"age": "5", "city": "176", "income": "high"}


def test_fields_of_items_beyond_the_v0_contract_are_attributes() -> None:
    encode = item_encoder(["shopid", "price", "brand", "genres"])
    info = ItemInfo.FromString(encode(("é\u200d🛒", "6980", "3.50", None, "")))
    assert (info.sku_id, info.brand, info.shopid, info.cate) == ("é\u200d🛒", "", "6980", "")
    assert item_fields(info) == {"shopid": "6980", "price": "3.50", "genres": ""}


def test_an_item_without_fields_is_stored_by_its_id() -> None:
    assert ItemInfo.FromString(item_encoder([])(("a",))) == ItemInfo(sku_id="a")


def test_equal_rows_are_stored_as_equal_bytes() -> None:
    encode = item_encoder([f"field{number}" for number in range(20)])
    row = ("a", *map(str, range(20)))
    assert len({encode(row) for _ in range(20)}) == 1


def test_a_history_is_stored_in_columns_newest_first() -> None:
    history = History.FromString(
        encode_history(["b", "a", "b"], [30, 20, -10], ["order", "view", "order"], [1, 2, 0.5])
    )
    assert list(history.sku_ids) == ["b", "a", "b"]
    assert list(history.times) == [30, 20, -10]
    assert [history.type_names[number] for number in history.types] == ["order", "view", "order"]
    assert list(history.values) == [1, 2, 0.5]
    assert not history.older_sku_ids


def test_only_the_items_of_older_actions_are_stored() -> None:
    total = DETAILED_ACTIONS + 40
    sku_ids = [f"new{position % 5}" for position in range(DETAILED_ACTIONS)]
    sku_ids += [f"old{position % 3}" if position % 2 else "new0" for position in range(40)]
    history = History.FromString(encode_history(sku_ids, list(range(total, 0, -1)), ["view"] * total, [1.0] * total))
    assert list(history.sku_ids) == sku_ids[:DETAILED_ACTIONS]
    assert list(history.times) == list(range(total, 40, -1))
    assert list(history.older_sku_ids) == ["old1", "old0", "old2"]
