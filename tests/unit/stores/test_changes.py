"""What entries of the log change in stored values: worked out by hand."""

import random

import pytest

from recmesh.contract import DETAILED_ACTIONS
from recmesh.pb.feed_pb2 import Action, ItemUpdate, UserUpdate
from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.pb.log_entry_pb2 import LogEntry
from recmesh.pb.user_info_pb2 import History, UserInfo
from recmesh.stores.changes import Pair, item_after, user_after, with_actions
from recmesh.stores.wire import encode_history

NOTHING = Pair(None, None)


def action(sku_id: str, time: int, kind: str = "view", value: float = 1.0) -> Action:
    return Action(user_id="u", sku_id=sku_id, time=time, type=kind, value=value)


def rows(history: bytes) -> list[tuple[str, int, str, float]]:
    decoded = History.FromString(history)
    types = [decoded.type_names[number] for number in decoded.types]
    return list(zip(decoded.sku_ids, decoded.times, types, decoded.values, strict=True))


def full() -> History:
    """A history of as many detailed actions as are kept, at times 1,001 and later, and one older item."""
    times = range(1_000 + DETAILED_ACTIONS, 1_000, -1)
    ids = [f"i{time}" for time in times]
    return History.FromString(encode_history(ids, list(times), ["view"] * len(ids), [1.0] * len(ids), ["older"]))


def test_the_first_action() -> None:
    assert rows(with_actions(None, [action("a", 5, "cart", 2.5)])) == [("a", 5, "cart", 2.5)]


@pytest.mark.parametrize(
    ("time", "position"),
    [(31, 0), (30, 0), (29, 1), (20, 1), (11, 2), (10, 2), (9, 3)],
)
def test_an_action_has_its_place_in_time_before_those_of_the_same_time(time: int, position: int) -> None:
    before = History.FromString(encode_history(["c", "b", "a"], [30, 20, 10], ["view"] * 3, [1.0] * 3))
    expected = [("c", 30, "view", 1.0), ("b", 20, "view", 1.0), ("a", 10, "view", 1.0)]
    expected.insert(position, ("x", time, "order", 1.0))
    assert rows(with_actions(before, [action("x", time, "order")])) == expected


@pytest.mark.parametrize(
    ("other", "counts"),
    [
        (action("a", 10), False),
        (action("a", 11), True),
        (action("b", 10), True),
        (action("a", 10, "cart"), True),
        (action("a", 10, value=2.0), True),
    ],
)
def test_only_an_action_that_agrees_in_everything_is_the_same(other: Action, counts: bool) -> None:
    before = with_actions(None, [action("a", 10)])
    assert len(rows(with_actions(History.FromString(before), [other]))) == (2 if counts else 1)


def test_a_full_history_moves_its_last_action_to_the_older_ones() -> None:
    after = History.FromString(with_actions(full(), [action("new", 9_999)]))
    assert len(after.sku_ids) == DETAILED_ACTIONS
    assert (after.sku_ids[0], after.sku_ids[-1]) == ("new", "i1002")
    assert list(after.older_sku_ids) == ["i1001", "older"]


def test_an_action_older_than_a_full_history_leaves_only_its_item() -> None:
    after = History.FromString(with_actions(full(), [action("late", 5)]))
    assert list(after.sku_ids) == list(full().sku_ids)
    assert list(after.older_sku_ids) == ["late", "older"]
    again = History.FromString(with_actions(after, [action("late", 5)]))
    assert again == after
    known = History.FromString(with_actions(full(), [action("i1300", 5)]))
    assert known == full()


def test_many_actions_at_once_give_the_history_of_one_after_the_other() -> None:
    chance = random.Random(1)
    actions = [action(f"i{chance.randrange(300)}", chance.randrange(400), chance.choice("xy")) for _ in range(1_500)]
    one_by_one = History()
    for each in actions:
        one_by_one = History.FromString(with_actions(one_by_one, [each]))
    at_once = History.FromString(with_actions(None, actions))
    assert rows(at_once.SerializeToString()) == rows(one_by_one.SerializeToString())
    assert set(at_once.older_sku_ids) == set(one_by_one.older_sku_ids)
    assert len(at_once.sku_ids) == DETAILED_ACTIONS


def test_a_user_after_entries_in_their_order() -> None:
    entries = [
        LogEntry(put_user=UserUpdate(user_id="u", fields={"age": "3", "income": "5"})),
        LogEntry(action=action("a", 10)),
        LogEntry(delete_user="u"),
        LogEntry(action=action("b", 20)),
        LogEntry(put_user=UserUpdate(user_id="u", fields={"age": "4", "city": "x"})),
        LogEntry(put_user=UserUpdate(user_id="u", fields={"age": "", "income": "6"})),
    ]
    after = user_after("u", NOTHING, entries)
    assert UserInfo.FromString(after.first or b"") == UserInfo(user_id="u", city="x", attributes={"income": "6"})
    assert rows(after.second or b"") == [("b", 20, "view", 1.0)]
    assert user_after("u", after, []) == after
    assert user_after("u", after, [LogEntry(delete_user="u")]) == NOTHING


def test_damaged_values_are_replaced() -> None:
    entries = [LogEntry(put_user=UserUpdate(user_id="u", fields={"age": "3"})), LogEntry(action=action("a", 10))]
    after = user_after("u", Pair(UserInfo(user_id="other").SerializeToString(), b"\xff"), entries)
    assert UserInfo.FromString(after.first or b"") == UserInfo(user_id="u", age="3")
    assert rows(after.second or b"") == [("a", 10, "view", 1.0)]


PUT = LogEntry(put_item=ItemUpdate(sku_id="i", fields={"brand": "b2"}))
HIDE, SHOW, REMOVE = LogEntry(hide_item="i"), LogEntry(show_item="i"), LogEntry(remove_item="i")
OLD = ItemInfo(sku_id="i", brand="b1", cate="c").SerializeToString()
NEW = ItemInfo(sku_id="i", brand="b2", cate="c").SerializeToString()
BARE, ONLY_NEW = (ItemInfo(sku_id="i", brand=brand).SerializeToString() for brand in ("", "b2"))


@pytest.mark.parametrize(
    ("before", "entries", "after"),
    [
        (NOTHING, [PUT], Pair(ONLY_NEW, None)),
        (Pair(OLD, None), [PUT], Pair(NEW, None)),
        (Pair(OLD, None), [HIDE], Pair(None, OLD)),
        (Pair(OLD, None), [HIDE, PUT], Pair(None, NEW)),
        (Pair(OLD, None), [HIDE, PUT, SHOW], Pair(NEW, None)),
        (Pair(OLD, None), [HIDE, HIDE], Pair(None, OLD)),
        (Pair(OLD, None), [SHOW], Pair(OLD, None)),
        (Pair(OLD, None), [REMOVE], Pair(None, b"")),
        (Pair(OLD, None), [REMOVE, SHOW], Pair(None, b"")),
        (Pair(OLD, None), [REMOVE, HIDE], Pair(None, b"")),
        (Pair(OLD, None), [REMOVE, PUT], Pair(ONLY_NEW, None)),
        (NOTHING, [HIDE], Pair(None, BARE)),
        (NOTHING, [HIDE, PUT], Pair(None, ONLY_NEW)),
        (NOTHING, [SHOW], NOTHING),
        (NOTHING, [REMOVE], Pair(None, b"")),
        # Killed between the two writes of a change: both values are there.
        (Pair(OLD, OLD), [HIDE], Pair(None, OLD)),
        (Pair(OLD, OLD), [SHOW], Pair(OLD, None)),
    ],
)
def test_an_item_after_entries(before: Pair, entries: list[LogEntry], after: Pair) -> None:
    assert item_after("i", before, entries) == after
    assert item_after("i", after, entries[-1:]) == after
