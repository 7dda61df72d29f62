"""um over its wire."""

import grpc

from recmesh.pb.um_pb2 import UserModelRequest, UserModelResponse
from recmesh.pb.um_pb2_grpc import UMServiceStub
from tests.processes import Service


def ask(service: Service, **request: object) -> UserModelResponse:
    with grpc.insecure_channel(service.target("um")) as channel:
        return UMServiceStub(channel).um_call(UserModelRequest(**request), timeout=5)


def test_a_known_user_comes_with_profile_and_history(um: Service) -> None:
    answer = ask(um, user_id="5")

    assert answer.error.code == 200
    assert (answer.user_info.user_id, answer.user_info.age, answer.user_info.city) == ("5", "3", "176")
    assert dict(answer.user_info.attributes) == {"income": "high"}
    assert list(answer.history.sku_ids) == ["2", "1"]
    assert [answer.history.type_names[t] for t in answer.history.types] == ["cart", "view"]


def test_a_user_without_actions_has_an_empty_history(um: Service) -> None:
    answer = ask(um, user_id="6")

    assert answer.error.code == 200
    assert not answer.history.sku_ids


def test_an_unknown_user_is_named_in_the_error(um: Service) -> None:
    answer = ask(um, user_id="55")

    assert answer.error.code == 500
    assert answer.error.text == 'UM server get user_info from redis fail. (user_id: "55"\n)'


def test_ids_are_text_and_kept_exactly(um: Service) -> None:
    assert ask(um, user_id="05").error.code == 500
    assert ask(um, user_id=" 5").error.code == 500
    assert ask(um, user_id="").error.code == 500
