"""`as` over HTTP, in both ways to run the services, and the examples of docs/http.md."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import jsonschema
import pytest
from google.protobuf import json_format

from local.ports import free_ports
from recmesh.contract import HTTP_PORTS, MAX_RECOMMENDATIONS, MAX_REQUEST_BYTES
from recmesh.pb.as_pb2 import ASRequest
from recmesh.pb.user_info_pb2 import History, UserInfo
from tests.by_http import JSON, call, request
from tests.calls import AS
from tests.processes import running
from tests.servers import ROOT
from tests.shop import Shop, running_apart

PAGE = (ROOT / "docs" / "http.md").read_text()


@dataclass(frozen=True)
class Ports:
    """Where `as` is."""

    target: str
    http: int


@pytest.fixture(scope="module", params=["compact", "apart"])
def served(request: pytest.FixtureRequest, trained_shop: Shop) -> Iterator[Ports]:
    (port,) = free_ports(1)
    settings = {"RECMESH_AS_HTTP_PORT": str(port), "RECMESH_DEFAULT_TIMEOUT": "30"}
    if request.param == "compact":
        with running("compact", {**trained_shop.environment, **settings}) as service:
            yield Ports(service.target("as"), port)
    else:
        with running_apart(trained_shop, settings) as services:
            yield Ports(services["as"].target("as"), port)


@pytest.fixture
def requests(trained_shop: Shop) -> list[ASRequest]:
    user_id, *others = trained_shop.sku_ids[:4]
    return [
        ASRequest(),
        ASRequest(user_id=trained_shop.user_ids[0], size=MAX_RECOMMENDATIONS, explain=True, log_id=2**64 - 1),
        ASRequest(user_id=trained_shop.user_ids[1], new_only=True, exclude_ids=others),
        ASRequest(user_id="no such user", user_info=UserInfo(age="3", attributes={"ü": '"'})),
        ASRequest(history=History(sku_ids=[user_id, *others])),
    ]


def test_an_answer_is_that_of_grpc_and_of_the_description(served: Ports, requests: list[ASRequest]) -> None:
    described = request(served.http, "/openapi.json", method="GET").json
    schema = {"$ref": "#/components/schemas/as.ASResponse", "components": described["components"]}
    for message in requests:
        expected = AS.call(served.target, message)
        assert expected.item_infos and not expected.degraded
        assert call(served.http, AS, message) == expected
        answer = request(served.http, AS.path, json_format.MessageToJson(message))
        jsonschema.validate(answer.json, schema)
        binary = request(served.http, AS.path, message.SerializeToString(), {"content-type": "application/proto"})
        assert AS.response.FromString(binary.body) == expected


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"size": 201}', "size is 201: at most 200"),
        ('{"userId": "' + "x" * 129 + '"}', "user_id: an id has 129 bytes: at most 128"),
        ('{"count": 20}', 'the JSON is no as.ASRequest: Protocol message ASRequest has no "count" field.'),
        (" " * MAX_REQUEST_BYTES + "{}", "the request has more than 1,048,576 bytes"),
    ],
)
def test_a_wrong_request_is_refused(served: Ports, body: str, message: str) -> None:
    assert request(served.http, AS.path, body).error == (400, "invalid_argument", message)


def test_a_request_whose_deadline_is_over_is_late(served: Ports) -> None:
    error = request(served.http, AS.path, "{}", {**JSON, "connect-timeout-ms": "0"}).error
    assert error[:2] == (504, "deadline_exceeded")


def examples(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def feed(trained_shop: Shop) -> Iterator[int]:
    """The HTTP port of feed."""
    (port,) = free_ports(1)
    with running("feed", {**trained_shop.environment, "RECMESH_FEED_HTTP_PORT": str(port)}):
        yield port


def moved(example: str, ports: dict[str, int]) -> str:
    """An example with the ports of this test."""
    for service, port in ports.items():
        example = example.replace(f":{HTTP_PORTS[service]}/", f":{port}/")  # type: ignore[index]
    return example


def test_the_curl_examples_run_as_written(served: Ports, feed: int) -> None:
    asked, recorded = examples("bash")
    ports = {"as": served.http, "feed": feed}
    assert shutil.which("curl"), "curl is missing (apt install curl)"
    answers = [
        json.loads(subprocess.run(["sh", "-ec", moved(text, ports)], capture_output=True, text=True, check=True).stdout)
        for text in (asked, recorded)
    ]
    assert [answer["error"]["code"] for answer in answers] == [200, 200]
    assert len(answers[0]["itemInfos"]) == len(answers[0]["reasons"]) == 3
    assert answers[1]["accepted"] == 1
