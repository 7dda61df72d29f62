"""um over gRPC."""

from recmesh.contract import FAILED, OK
from recmesh.pb.um_pb2 import UserModelRequest, UserModelResponse
from tests.calls import UM
from tests.processes import Service


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
