"""The names of the keys in Redis."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from recmesh.errors import SettingsError
from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.pb.user_info_pb2 import History, UserInfo
from recmesh.stores.keys import UNPREFIXED, Keys

IDS = st.text(min_size=1, max_size=20) | st.text("{}u:serhitory", min_size=1, max_size=20)


def test_the_keys_of_the_default_prefix() -> None:
    keys = Keys.of()
    assert keys.user("8888") == "recmesh:{u:8888}:user"
    assert keys.history("8888") == "recmesh:{u:8888}:history"
    assert keys.item("99654") == "recmesh:item:99654"
    assert keys.ingest("redis") == "recmesh:ingest:redis"
    assert (UNPREFIXED.user("7"), UNPREFIXED.history("7"), UNPREFIXED.item("7")) == ("user:7", "history:7", "item:7")


@given(IDS)
def test_the_keys_of_a_user_share_a_slot_and_lead_back_to_the_id(identity: str) -> None:
    keys = Keys.of("shop.b:")
    user, history = keys.user(identity), keys.history(identity)
    assert key_slot(user.encode()) == key_slot(history.encode())
    assert keys.user.id_of(user) == keys.history.id_of(history) == keys.item.id_of(keys.item(identity)) == identity
    assert keys.user.id_of(history) is None
    assert keys.item.id_of(user) is None
    assert not keys.foreign(keys.counts(6_000_000)) and not keys.foreign(keys.counts("applied"))
    assert not keys.foreign(user) and not keys.foreign(history) and not keys.foreign(keys.item(identity))


def test_users_are_spread_over_the_slots() -> None:
    keys = Keys.of()
    assert len({key_slot(keys.user(str(number)).encode()) for number in range(1000)}) > 900


@pytest.mark.parametrize("prefix", ["", "a b", "a*", "{a}", "[a]", "ü", "a" * 65, "a\n"])
def test_a_prefix_that_redis_would_take_for_syntax_is_refused(prefix: str) -> None:
    with pytest.raises(SettingsError, match="use 1 to 64 letters, digits and"):
        Keys.of(prefix)


def test_what_recmesh_made_is_told_from_what_looks_like_it() -> None:
    keys = Keys.of()
    history = History(sku_ids=["a"], times=[1], types=[0], values=[1.0], type_names=["view"])
    assert keys.user.made("7", UserInfo(user_id="7", age="3").SerializeToString())
    assert keys.item.made("7", ItemInfo(sku_id="7").SerializeToString())
    assert keys.history.made("7", history.SerializeToString())
    assert not keys.user.made("7", UserInfo(user_id="8").SerializeToString())
    assert not keys.item.made("7", b"17")
    for value in (b"", b"o1", b"\xff", History(sku_ids=["a"]).SerializeToString()):
        assert not keys.history.made("7", value)
