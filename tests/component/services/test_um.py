"""um over gRPC."""

import grpc
import pytest

from recmesh.contract import FAILED, OK
from recmesh.pb.um_pb2 import UserModelRequest, UserModelResponse
from recmesh.pb.user_info_pb2 import History, UserInfo
from recmesh.stores.redis import RedisWriter
from tests.calls import UM
from tests.processes import Service
from tests.servers import RedisServer


def find(service: Service, user_id: str) -> UserModelResponse:
    return UM.call(service.target("um"), UserModelRequest(user_id=user_id))


def test_a_known_user_has_a_profile_and_a_history(um: Service) -> None:
    answer = find(um, "5")

    assert answer.error.code == OK
    assert (answer.user_info.user_id, answer.user_info.age, answer.user_info.city) == ("5", "3", "176")
    assert dict(answer.user_info.attributes) == {"income": "high"}
    assert list(answer.history.sku_ids) == ["2", "1"]
    assert [answer.history.type_names[code] for code in answer.history.types] == ["cart", "view"]


def test_a_user_without_actions_has_an_empty_history(um: Service) -> None:
    answer = find(um, "6")

    assert answer.error.code == OK
    assert not answer.history.sku_ids


def test_the_error_names_an_unknown_user(um: Service) -> None:
    answer = find(um, "55")

    assert answer.error.code == FAILED
    assert answer.error.text == 'UM server get user_info from redis fail. (user_id: "55"\n)'


def test_ids_are_compared_as_text(um: Service) -> None:
    assert find(um, "05").error.code == FAILED
    assert find(um, " 5").error.code == FAILED
    assert find(um, "").error.code == FAILED


DAMAGED_HISTORIES: dict[str, bytes | History] = {
    "no message": b"\xff\xff\xff",
    "columns of different lengths": History(sku_ids=["1"], times=[1, 2], types=[0], values=[1], type_names=["view"]),
    "a type without name": History(sku_ids=["1"], times=[1], types=[3], values=[1], type_names=["view"]),
    "no actions": History(type_names=["view"]),
}


@pytest.mark.parametrize("what", DAMAGED_HISTORIES)
def test_a_damaged_history_is_a_counted_loss_of_data(what: str, um: Service, shop: RedisServer) -> None:
    value = DAMAGED_HISTORIES[what]
    content = value if isinstance(value, bytes) else value.SerializeToString()
    assert_lost(um, shop, "history", {"history": content, "user": UserInfo(user_id="77").SerializeToString()})


@pytest.mark.parametrize("value", [b"\xff\xff\xff", UserInfo(user_id="78").SerializeToString()])
def test_a_damaged_profile_is_a_counted_loss_of_data(value: bytes, um: Service, shop: RedisServer) -> None:
    assert_lost(um, shop, "profile", {"user": value})


def assert_lost(um: Service, shop: RedisServer, kind: str, values: dict[str, bytes]) -> None:
    """Store values for user 77, and look the user up."""
    writer = RedisWriter(shop.url)
    keys = {"user": writer.keys.user("77"), "history": writer.keys.history("77")}
    writer.write({keys[name]: value for name, value in values.items()})
    series = f'recmesh_damaged_values_total{{kind="{kind}"}}'
    before = um.metrics().get(series, 0.0)
    try:
        with pytest.raises(grpc.RpcError) as raised:
            find(um, "77")
    finally:
        writer.delete(list(keys.values()))
        writer.close()
    assert raised.value.code() is grpc.StatusCode.DATA_LOSS
    assert raised.value.details() == f"Redis holds a damaged {kind} of user 77; run the ingestion again"
    assert um.metrics()[series] == before + 1
