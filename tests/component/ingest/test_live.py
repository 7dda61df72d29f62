"""An ingestion of a data set into a Redis that feed writes to at the same time."""

from collections.abc import Iterator

import pytest
import redis

from recmesh.dataset import DataSet
from recmesh.pb.feed_pb2 import (
    Action,
    DeleteUserRequest,
    ItemUpdate,
    PutItemsRequest,
    PutUsersRequest,
    RecordActionsRequest,
    RemoveItemsRequest,
    SetAvailabilityRequest,
    UserUpdate,
)
from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.pb.user_info_pb2 import History, UserInfo
from tests.calls import DELETE_USER, PUT_ITEMS, PUT_USERS, RECORD_ACTIONS, REMOVE_ITEMS, SET_AVAILABILITY
from tests.component.ingest.test_to_redis import content, expected, ingest
from tests.processes import Service, running
from tests.servers import RedisServer, running_redis
from tests.waiting import eventually

LATER = 1_700_000_000_000


@pytest.fixture(scope="module")
def live_redis() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest.fixture(scope="module")
def feed(live_redis: RedisServer, data: DataSet) -> Iterator[Service]:
    """feed on a Redis that holds the data set."""
    ingest(data, live_redis)
    with running("feed", {"RECMESH_REDIS_URL": live_redis.url}) as service:
        yield service


def test_what_feed_changed_survives_an_ingestion(data: DataSet, live_redis: RedisServer, feed: Service) -> None:
    target, kind = feed.target("feed"), data.actions["type"][0]
    user, leaver = data.users["user_id"][0], data.users["user_id"][1]
    hidden, removed, kept = data.items["sku_id"][:3].to_list()
    actions = [
        Action(user_id=str(user), sku_id=kept, time=LATER, type=kind),
        Action(user_id="visitor", sku_id=kept, time=LATER, type=kind, value=2.0),
    ]
    assert RECORD_ACTIONS.call(target, RecordActionsRequest(actions=actions)).accepted == 2
    items = [ItemUpdate(sku_id="fresh", fields={"brand": "b"})]
    assert PUT_ITEMS.call(target, PutItemsRequest(items=items)).accepted == 1
    assert PUT_USERS.call(target, PutUsersRequest(users=[UserUpdate(user_id="visitor", fields={"age": "7"})])).accepted
    assert SET_AVAILABILITY.call(target, SetAvailabilityRequest(sku_ids=[hidden])).accepted == 1
    assert REMOVE_ITEMS.call(target, RemoveItemsRequest(sku_ids=[removed])).accepted == 1
    assert DELETE_USER.call(target, DeleteUserRequest(user_id=str(leaver))).accepted == 1

    def state(data: DataSet) -> dict[str, bytes]:
        """What Redis has to hold."""
        found = expected(data)
        history = History.FromString(found[f"recmesh:{{u:{user}}}:history"])
        del history.older_sku_ids[:]
        types = [history.type_names[number] for number in history.types]
        names = list(dict.fromkeys([kind, *types]))
        found[f"recmesh:{{u:{user}}}:history"] = History(
            sku_ids=[kept, *history.sku_ids],
            times=[LATER, *history.times],
            types=[names.index(name) for name in [kind, *types]],
            values=[1.0, *history.values],
            type_names=names,
        ).SerializeToString()
        found["recmesh:{u:visitor}:user"] = UserInfo(user_id="visitor", age="7").SerializeToString()
        found["recmesh:{u:visitor}:history"] = History(
            sku_ids=[kept], times=[LATER], types=[0], values=[2.0], type_names=[kind]
        ).SerializeToString()
        found["recmesh:item:fresh"] = ItemInfo(sku_id="fresh", brand="b").SerializeToString()
        for gone in (f"item:{hidden}", f"item:{removed}", f"{{u:{leaver}}}:user", f"{{u:{leaver}}}:history"):
            found.pop(f"recmesh:{gone}", None)
        return found

    with redis.Redis(port=live_redis.port) as client:
        eventually(lambda: content(client) == state(data), lambda: _different(content(client), state(data)))
        was_hidden = client.get(f"recmesh:hidden:{hidden}")
        changed, output = ingest(data, live_redis)
        assert not changed, output
        assert "current" in output
        client.delete("recmesh:ingest:redis")  # as if another data set had been ingested before
        changed, output = ingest(data, live_redis)
        assert changed, output
        eventually(lambda: content(client) == state(data), lambda: _different(content(client), state(data)))
        assert client.get(f"recmesh:hidden:{hidden}") == was_hidden
        assert client.get(f"recmesh:hidden:{removed}") == b""
        assert client.scard("recmesh:deleted") == 1


def _different(found: dict[str, bytes], wanted: dict[str, bytes]) -> list[str]:
    return sorted(key for key in found.keys() | wanted.keys() if found.get(key) != wanted.get(key))[:20]
