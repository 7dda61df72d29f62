"""feed on the wire, over a real Redis, and what um and cm answer afterwards."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import grpc
import pytest

from recmesh.contract import MAX_ENTRIES
from recmesh.pb.cm_pb2 import CMRequest
from recmesh.pb.feed_pb2 import (
    Action,
    DeleteUserRequest,
    FeedResponse,
    ItemUpdate,
    PutItemsRequest,
    PutUsersRequest,
    RecordActionsRequest,
    RemoveItemsRequest,
    SetAvailabilityRequest,
    UserUpdate,
)
from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.pb.um_pb2 import UserModelRequest, UserModelResponse
from recmesh.stores.redis import RedisWriter
from recmesh.stores.rules import Rules
from tests.calls import CM, DELETE_USER, PUT_ITEMS, PUT_USERS, RECORD_ACTIONS, REMOVE_ITEMS, SET_AVAILABILITY, UM
from tests.processes import Service, health_of, running
from tests.servers import RedisServer, running_redis
from tests.waiting import eventually

RULES = Rules(
    user_fields={"age": "categorical", "income": "numeric"},
    item_fields={"brand": "categorical", "price": "numeric", "title": "display"},
    action_types=("order", "cart", "view"),
)
DAY = 86_400_000


@dataclass(frozen=True)
class Live:
    """feed, um and cm over one Redis."""

    feed: Service
    um: Service
    cm: Service

    def record(self, *actions: Action) -> FeedResponse:
        return RECORD_ACTIONS.call(self.feed.target("feed"), RecordActionsRequest(actions=actions))

    def put_item(self, sku_id: str, **fields: str) -> FeedResponse:
        request = PutItemsRequest(items=[ItemUpdate(sku_id=sku_id, fields=fields)])
        return PUT_ITEMS.call(self.feed.target("feed"), request)

    def remove_items(self, *sku_ids: str) -> FeedResponse:
        return REMOVE_ITEMS.call(self.feed.target("feed"), RemoveItemsRequest(sku_ids=sku_ids))

    def set_available(self, sku_id: str, available: bool) -> FeedResponse:
        request = SetAvailabilityRequest(sku_ids=[sku_id], available=available)
        return SET_AVAILABILITY.call(self.feed.target("feed"), request)

    def put_user(self, user_id: str, **fields: str) -> FeedResponse:
        request = PutUsersRequest(users=[UserUpdate(user_id=user_id, fields=fields)])
        return PUT_USERS.call(self.feed.target("feed"), request)

    def delete_user(self, user_id: str) -> FeedResponse:
        return DELETE_USER.call(self.feed.target("feed"), DeleteUserRequest(user_id=user_id))

    def user(self, user_id: str) -> UserModelResponse:
        return UM.call(self.um.target("um"), UserModelRequest(user_id=user_id))

    def item(self, sku_id: str) -> ItemInfo | None:
        infos = CM.call(self.cm.target("cm"), CMRequest(item_ids=[sku_id])).item_infos
        return infos[0] if infos else None

    def actions(self, user_id: str) -> list[tuple[str, int, str, float]]:
        """The history, newest first: item, time, type, value."""
        history = self.user(user_id).history
        types = [history.type_names[number] for number in history.types]
        return list(zip(history.sku_ids, history.times, types, history.values, strict=True))

    def has(self, user_id: str, expected: Sequence[tuple[str, int, str, float]]) -> None:
        eventually(lambda: self.actions(user_id) == list(expected), lambda: self.actions(user_id))

    def offers(self, sku_id: str, expected: ItemInfo | None) -> None:
        eventually(lambda: self.item(sku_id) == expected, lambda: self.item(sku_id))


@pytest.fixture(scope="module")
def store() -> Iterator[RedisServer]:
    """A Redis that knows the rules of a data set, and the item i1."""
    with running_redis() as server:
        writer = RedisWriter(server.url)
        keys = writer.keys
        writer.write({keys.schema: RULES.model_dump_json().encode()})
        writer.write({keys.item("i1"): ItemInfo(sku_id="i1", brand="b").SerializeToString()})
        writer.close()
        yield server


@pytest.fixture(scope="module")
def live(store: RedisServer) -> Iterator[Live]:
    variables = {"RECMESH_REDIS_URL": store.url}
    with running("feed", variables) as feed, running("um", variables) as um, running("cm", variables) as cm:
        yield Live(feed, um, cm)


def test_recorded_actions_are_in_the_history_by_time(live: Live) -> None:
    answer = live.record(
        Action(user_id="times", sku_id="i2", time=2 * DAY, type="view"),
        Action(user_id="times", sku_id="i3", time=3 * DAY, type="order", value=2.5),
        Action(user_id="times", sku_id="i1", time=1 * DAY, type="cart"),
    )
    assert (answer.error.code, answer.accepted, answer.repeated_entries, list(answer.rejected)) == (200, 3, 0, [])
    live.has("times", [("i3", 3 * DAY, "order", 2.5), ("i2", 2 * DAY, "view", 1.0), ("i1", DAY, "cart", 1.0)])
    assert live.record(Action(user_id="times", sku_id="i9", time=2 * DAY + 1, type="view")).accepted == 1
    live.has(
        "times",
        [
            ("i3", 3 * DAY, "order", 2.5),
            ("i9", 2 * DAY + 1, "view", 1.0),
            ("i2", 2 * DAY, "view", 1.0),
            ("i1", DAY, "cart", 1.0),
        ],
    )


def test_an_action_without_time_and_type_is_the_strongest_type_now(live: Live) -> None:
    before = live.feed.metric("recmesh_feed_apply_seconds_count")
    live.record(Action(user_id="now", sku_id="i1"))
    eventually(lambda: len(live.actions("now")) == 1, lambda: live.actions("now"))
    ((sku_id, time, kind, value),) = live.actions("now")
    assert (sku_id, kind, value) == ("i1", "order", 1.0)
    assert time > 1_700_000_000_000
    eventually(lambda: live.feed.metric("recmesh_feed_apply_seconds_count") == before + 1, live.feed.metrics)


def test_repeated_actions_count_once(live: Live) -> None:
    same = Action(user_id="twice", sku_id="i1", time=DAY, type="view")
    with_id = Action(user_id="twice", sku_id="i1", time=2 * DAY, type="view", event_id="e1")
    other_time = Action(user_id="twice", sku_id="i1", time=5 * DAY, type="view", event_id="e1")
    assert live.record(same, with_id).repeated_entries == 0
    again = live.record(same, other_time)
    assert (again.accepted, again.repeated_entries) == (2, 1)
    # The same event id of another user is another event.
    assert live.record(Action(user_id="other", sku_id="i1", time=DAY, event_id="e1")).repeated_entries == 0
    live.record(Action(user_id="twice", sku_id="last", time=9 * DAY, type="view"))
    live.has("twice", [("last", 9 * DAY, "view", 1.0), ("i1", 2 * DAY, "view", 1.0), ("i1", DAY, "view", 1.0)])


def test_actions_on_unknown_items_are_counted(live: Live) -> None:
    before = live.feed.metric("recmesh_feed_unknown_items_total")
    live.record(Action(user_id="far", sku_id="nobody", time=DAY), Action(user_id="far", sku_id="i1", time=2 * DAY))
    live.has("far", [("i1", 2 * DAY, "order", 1.0), ("nobody", DAY, "order", 1.0)])
    assert live.feed.metric("recmesh_feed_unknown_items_total") == before + 1


def test_what_breaks_a_rule_is_rejected_by_position_and_the_rest_accepted(live: Live) -> None:
    answer = live.record(
        Action(user_id="", sku_id="i1"),
        Action(user_id="rules", sku_id="i1", time=DAY, type="view"),
        Action(user_id="-1", sku_id="i1"),
        Action(user_id="rules", sku_id=""),
        Action(user_id="rules", sku_id="a\nb"),
        Action(user_id="x" * 129, sku_id="i1"),
        Action(user_id="rules", sku_id="i1", type="vieww"),
        Action(user_id="rules", sku_id="i1", value=float("nan")),
        Action(user_id="rules", sku_id="i1", time=-1),
        Action(user_id="rules", sku_id="i1", time=4_102_444_800_000),
        Action(user_id="rules", sku_id="i1", event_id="e" * 129),
    )
    ahead = "time {} is not between 1970 and a day from now, in milliseconds since 1970"
    assert {entry.position: entry.reason for entry in answer.rejected} == {
        0: 'user_id is empty or "-1", which means an anonymous user',
        2: 'user_id is empty or "-1", which means an anonymous user',
        3: "sku_id is empty",
        4: "sku_id contains a control character",
        5: "user_id has 129 bytes: at most 128",
        6: "type 'vieww' is not one of order, cart, view",
        7: "value is not a finite number",
        8: ahead.format(-1),
        9: ahead.format(4_102_444_800_000),
        10: "event_id has 129 bytes: at most 128",
    }
    assert answer.accepted == 1
    live.has("rules", [("i1", DAY, "view", 1.0)])


def test_fields_of_users_change_one_by_one(live: Live) -> None:
    answer = live.put_user("fields", age="30", income="12.5")
    assert (answer.accepted, len(answer.rejected)) == (1, 0)
    live.put_user("fields", age="31")
    eventually(lambda: live.user("fields").user_info.age == "31", lambda: live.user("fields"))
    assert dict(live.user("fields").user_info.attributes) == {"income": "12.5"}
    live.put_user("fields", income="")
    eventually(lambda: not live.user("fields").user_info.attributes, lambda: live.user("fields"))
    assert live.user("fields").user_info.age == "31"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"aeg": "3"}, "user field 'aeg' is not in the schema, which has: age, income"),
        ({"income": "high"}, "user field income is numeric, but 'high' is no number"),
        ({"age": "x" * 16_385}, "user field age has 16,385 bytes: at most 16,384"),
    ],
)
def test_fields_that_the_schema_does_not_allow_are_rejected(live: Live, fields: dict[str, str], reason: str) -> None:
    answer = live.put_user("strange", **fields)
    assert answer.accepted == 0
    assert [(entry.position, entry.reason) for entry in answer.rejected] == [(0, reason)]
    assert live.user("strange").error.code == 500


def test_a_deleted_user_is_gone_and_can_come_again(live: Live) -> None:
    live.put_user("gone", age="30")
    live.record(Action(user_id="gone", sku_id="i1", time=DAY, type="view"))
    live.has("gone", [("i1", DAY, "view", 1.0)])
    assert live.delete_user("gone").accepted == 1
    eventually(lambda: live.user("gone").error.code == 500, lambda: live.user("gone"))
    live.record(Action(user_id="gone", sku_id="i2", time=2 * DAY, type="view"))
    live.has("gone", [("i2", 2 * DAY, "view", 1.0)])
    assert live.user("gone").user_info.age == ""


def test_items_come_change_hide_and_go(live: Live) -> None:
    live.put_item("n1", brand="b1", price="9.5", title="A name\nin two lines")
    first = ItemInfo(sku_id="n1", brand="b1", attributes={"price": "9.5", "title": "A name\nin two lines"})
    live.offers("n1", first)
    assert live.set_available("n1", False).accepted == 1
    live.offers("n1", None)
    live.put_item("n1", brand="b2")  # a hidden item stays hidden
    live.put_item("n2", brand="b1")
    live.offers("n2", ItemInfo(sku_id="n2", brand="b1"))
    assert live.item("n1") is None
    assert live.set_available("n1", True).accepted == 1
    second = ItemInfo(sku_id="n1", brand="b2", attributes=dict(first.attributes))
    live.offers("n1", second)
    assert live.remove_items("n1").accepted == 1
    live.offers("n1", None)
    assert live.set_available("n1", True).accepted == 1  # a removed item comes back with its fields only
    live.put_item("n2", brand="b9")
    live.offers("n2", ItemInfo(sku_id="n2", brand="b9"))
    assert live.item("n1") is None
    live.put_item("n1", brand="b3")
    live.offers("n1", ItemInfo(sku_id="n1", brand="b3"))


def test_a_request_with_too_many_entries_is_refused(live: Live) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        live.record(*[Action(user_id="many", sku_id="i1", time=DAY)] * (MAX_ENTRIES + 1))
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "actions has 1,001 entries: at most 1,000" in str(raised.value.details())
    actions = (Action(user_id=f"many{n}", sku_id=f"i{n}", time=DAY, type="view") for n in range(MAX_ENTRIES))
    assert live.record(*actions).accepted == MAX_ENTRIES
    live.has("many999", [("i999", DAY, "view", 1.0)])


def test_feed_without_a_data_set_is_not_serving_and_says_why() -> None:
    with running_redis() as empty, running("feed", {"RECMESH_REDIS_URL": empty.url}, ready=False) as service:
        target = service.target("feed")
        eventually(lambda: health_of(target) is not None, service.log_tail)
        assert not service.serving("feed")
        with pytest.raises(grpc.RpcError) as raised:
            RECORD_ACTIONS.call(target, RecordActionsRequest(actions=[Action(user_id="u", sku_id="i")]))
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "run an ingestion" in str(raised.value.details())
