"""feed over HTTP, with a real Redis: the same answers, limits, errors, metrics, logs and traces as over gRPC."""

import gzip
import http.client
import json
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import jsonschema
import pytest
from google.protobuf.message import Message

from local.ports import free_ports, hold
from recmesh.contract import MAX_REQUEST_BYTES
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
from recmesh.stores.redis import RedisWriter
from tests.by_http import JSON, Answer, call, read, request
from tests.calls import (
    DELETE_USER,
    PUT_ITEMS,
    PUT_USERS,
    RECORD_ACTIONS,
    REMOVE_ITEMS,
    SET_AVAILABILITY,
    Method,
)
from tests.component.services.test_feed import DAY, RULES
from tests.otlp import grpc_receiver, tree
from tests.processes import Service, running, start_service
from tests.servers import RedisServer, running_redis, start_redis, wait_until

SHOP, STRANGER = "https://shop.example", "https://stranger.example"
PATH = RECORD_ACTIONS.path
CALLS: list[tuple[Method[Any, Any], Message]] = [
    (
        RECORD_ACTIONS,
        RecordActionsRequest(
            log_id=2**63,
            actions=[
                Action(user_id="u", sku_id="i1", time=2 * DAY, type="view", value=0.1, event_id="é\u2028"),
                Action(user_id="u", sku_id="i1", time=2 * DAY, type="hate"),
                Action(user_id="", sku_id="i1"),
            ],
        ),
    ),
    (PUT_USERS, PutUsersRequest(users=[UserUpdate(user_id="u", fields={"age": "3", "shoe": "9"})])),
    (PUT_ITEMS, PutItemsRequest(items=[ItemUpdate(sku_id="i1", fields={"title": 'a "b"\n'})])),
    (SET_AVAILABILITY, SetAvailabilityRequest(sku_ids=["i1", "\x01"], available=True)),
    (REMOVE_ITEMS, RemoveItemsRequest(sku_ids=["i1"])),
    (DELETE_USER, DeleteUserRequest(user_id="u")),
]


@pytest.fixture(scope="module")
def store() -> Iterator[RedisServer]:
    with running_redis() as server:
        fill(server)
        yield server


def fill(server: RedisServer) -> None:
    writer = RedisWriter(server.url)
    writer.write({writer.keys.schema: RULES.model_dump_json().encode()})
    writer.close()


def http_settings(server: RedisServer, **more: str) -> dict[str, str]:
    return {"RECMESH_REDIS_URL": server.url, "RECMESH_FEED_HTTP_PORT": str(free_ports(1)[0]), **more}


def http_port(settings: dict[str, str]) -> int:
    return int(settings["RECMESH_FEED_HTTP_PORT"])


@pytest.fixture(scope="module")
def feed(store: RedisServer) -> Iterator[tuple[Service, int]]:
    """feed, and its HTTP port."""
    settings = http_settings(store, RECMESH_HTTP_ORIGINS=f"{SHOP}, https://other.example")
    with running("feed", settings) as service:
        yield service, http_port(settings)


@pytest.fixture
def port(feed: tuple[Service, int]) -> int:
    return feed[1]


@pytest.mark.parametrize(("method", "message"), CALLS, ids=[method.path for method, _ in CALLS])
def test_every_method_gives_the_answer_of_grpc(
    feed: tuple[Service, int], method: Method[Any, Any], message: Message
) -> None:
    service, port = feed
    method.call(service.target("feed"), message)  # Both calls below repeat it.
    expected = method.call(service.target("feed"), message)
    assert expected.error.code == 200
    assert call(port, method, message) == expected
    binary = request(port, method.path, message.SerializeToString(), {"content-type": "application/proto"})
    assert (binary.status, binary.headers["content-type"]) == (200, "application/proto")
    assert method.response.FromString(binary.body) == expected


def test_connects_own_client_understands_answers_and_errors(port: int) -> None:
    from connectrpc.client import ConnectClientSync
    from connectrpc.code import Code
    from connectrpc.compat import google_protobuf_json_codec
    from connectrpc.errors import ConnectError
    from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType

    service, name = PATH[1:].split("/")
    method = MethodInfo(
        name=name,
        service_name=service,
        input=RECORD_ACTIONS.request,
        output=RECORD_ACTIONS.response,
        idempotency_level=IdempotencyLevel.UNKNOWN,
        stream_type=StreamType.UNARY,
    )
    with ConnectClientSync(f"http://127.0.0.1:{port}", codec=google_protobuf_json_codec()) as client:
        message = RecordActionsRequest(actions=[Action(user_id="connect", sku_id="i1", time=DAY, type="view")])
        answer = client.execute_unary(request=message, method=method, timeout_ms=30_000)
        assert (answer.error.code, answer.accepted, answer.repeated_entries) == (200, 1, 0)
        with pytest.raises(ConnectError) as refused:
            client.execute_unary(request=RecordActionsRequest(actions=[Action()] * 1001), method=method)
    assert refused.value.code is Code.INVALID_ARGUMENT
    assert refused.value.message == "actions has 1,001 entries: at most 1,000"


NO_JSON = "the JSON is no feed.RecordActionsRequest"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"action": []}', f'{NO_JSON}: Protocol message RecordActionsRequest has no "action" field.'),
        ('{"actions": [{"userID": "u"}]}', f'{NO_JSON}: Protocol message Action has no "userID" field.'),
        ('{"actions": [{}, {"userId": 5}]}', f"{NO_JSON}: actions[1].userId: Input should be a valid string"),
        ('{"actions": {}}', f"{NO_JSON}: actions: Input should be a valid array"),
        ('{"logId": -1}', f"{NO_JSON}: logId: a whole number from 0 to {2**64 - 1} is needed"),
        ("[]", f"{NO_JSON}: Input should be an object"),
        ("", f"{NO_JSON}: Invalid JSON: EOF while parsing a value at line 1 column 0"),
        ('{"logId": 1', f"{NO_JSON}: Invalid JSON: EOF while parsing an object at line 1 column 11"),
        (b'{"logId": "\xff"}', f"{NO_JSON}: Invalid JSON: invalid unicode code point at line 1 column 12"),
        ("[" * 100_000, f"{NO_JSON}: Invalid JSON: recursion limit exceeded at line 1 column 202"),
        (
            '{"actions": [' + ",".join(["{}"] * 10_001) + "]}",
            f"{NO_JSON}: actions: List should have at most 10000 items after validation, not 10001",
        ),
        ('{"actions": [' + ",".join(["{}"] * 1001) + "]}", "actions has 1,001 entries: at most 1,000"),
    ],
)
def test_a_wrong_request_is_refused_by_an_error_that_names_the_place(
    port: int, body: str | bytes, message: str
) -> None:
    assert request(port, PATH, body).error == (400, "invalid_argument", message)


def test_requests_have_the_size_limit_of_grpc(port: int) -> None:
    fits = RecordActionsRequest(actions=[Action(user_id="u", sku_id="i", type="x" * 1000)] * 900)
    assert len(call(port, RECORD_ACTIONS, fits).rejected) == 900
    padded = "{}" + " " * (MAX_REQUEST_BYTES - 2)
    assert request(port, PATH, padded).status == 200
    too_large = (400, "invalid_argument", "the request has more than 1,048,576 bytes")
    assert request(port, PATH, padded + " ").error == too_large
    zipped = {**JSON, "content-encoding": "gzip"}
    assert request(port, PATH, gzip.compress(padded.encode()), zipped).status == 200
    assert request(port, PATH, gzip.compress(padded.encode() * 50), zipped).error == too_large
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        chunks = (b" " * 65_536 for _ in range(64))
        connection.request("POST", PATH, chunks, JSON, encode_chunked=True)
        assert read(connection).error == too_large
        connection.request("POST", PATH, "{}", JSON)
        assert read(connection).status == 200


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (
            lambda port: request(port, "/feed.FeedService/forget", "{}"),
            (404, "unimplemented", "POST /feed.FeedService/forget: no such method; / lists"),
        ),
        (
            lambda port: request(port, PATH, method="GET"),
            (405, "unimplemented", f"GET {PATH}: no such method; / lists"),
        ),
        (
            lambda port: request(port, PATH, "{}", {"content-type": "text/plain"}),
            (415, "invalid_argument", "content-type: must be application/json or application/proto"),
        ),
        (
            lambda port: request(port, PATH, "{}", {**JSON, "content-encoding": "br"}),
            (501, "unimplemented", "content-encoding: must be gzip or identity"),
        ),
        (
            lambda port: request(port, PATH, "{}", {**JSON, "content-encoding": "gzip"}),
            (400, "invalid_argument", "the request is not compressed by gzip"),
        ),
        (
            lambda port: request(port, PATH, "{}", {**JSON, "connect-timeout-ms": "1s"}),
            (400, "invalid_argument", "connect-timeout-ms: milliseconds in up to 10 digits"),
        ),
        (
            lambda port: request(port, PATH, "{}", {**JSON, "connect-protocol-version": "2"}),
            (400, "invalid_argument", "connect-protocol-version: must be 1"),
        ),
        (
            lambda port: request(port, PATH, b"\xff", {"content-type": "application/proto"}),
            (400, "invalid_argument", "the request is no feed.RecordActionsRequest"),
        ),
    ],
)
def test_what_is_no_request_of_a_method_is_refused(
    port: int, answer: Callable[[int], Answer], error: tuple[int, str, str]
) -> None:
    status, code, message = answer(port).error
    assert (status, code) == error[:2]
    assert message.startswith(error[2])


def test_the_content_type_may_have_parameters(port: int) -> None:
    assert request(port, PATH, "{}", {"content-type": "Application/JSON; charset=utf-8"}).status == 200


def test_only_pages_of_the_named_origins_may_send_requests(port: int) -> None:
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "content-type,authorization"}
    allowed = request(port, PATH, headers={"origin": SHOP, **asked}, method="OPTIONS")
    assert (allowed.status, allowed.headers["access-control-allow-origin"]) == (200, SHOP)
    refused = request(port, PATH, headers={"origin": STRANGER, **asked}, method="OPTIONS")
    assert (refused.status, "access-control-allow-origin" in refused.headers) == (400, False)
    assert request(port, PATH, "{}", {**JSON, "origin": SHOP}).headers["access-control-allow-origin"] == SHOP
    failed = request(port, PATH, "[]", {**JSON, "origin": SHOP})
    assert (failed.status, failed.headers["access-control-allow-origin"]) == (400, SHOP)
    assert "access-control-allow-origin" not in request(port, PATH, "{}", {**JSON, "origin": STRANGER}).headers


def test_requests_count_log_and_trace_like_those_by_grpc(store: RedisServer, tmp_path: Path) -> None:
    trace_id, caller = "12" * 16, "34" * 8
    with grpc_receiver() as receiver:
        settings = http_settings(store, RECMESH_OTLP_ENDPOINT=receiver.endpoint, RECMESH_TRACE_SLOW="3600")
        service = start_service("feed", tmp_path, settings)
        try:
            assert not [name for name in service.metrics() if name.startswith("recmesh_requests_total")]
            headers = {**JSON, "traceparent": f"00-{trace_id}-{caller}-01", "recmesh-priority": "batch"}
            assert request(http_port(settings), PATH, "{}", headers).status == 200
            secret = '{"logId": "77", "actions": [' + '{"userId": "secret-user"},' * 1000 + "{}]}"
            assert request(http_port(settings), PATH, secret).status == 400
            assert request(http_port(settings), PATH, '{"actions": ["secret-user"]}').status == 400
            metrics = service.metrics()
        finally:
            service.stop(grace=20)
    labels = 'method="record_actions",service="feed"'
    counted = {
        (caller, status): metrics[f'recmesh_requests_total{{caller="{caller}",{labels},status="{status}"}}']
        for caller, status in (("batch", "OK"), ("online", "INVALID_ARGUMENT"), ("online", "OK"))
    }
    assert counted == {("batch", "OK"): 1, ("online", "INVALID_ARGUMENT"): 2, ("online", "OK"): 0}
    assert metrics[f"recmesh_request_seconds_count{{{labels}}}"] == 3
    lines = [json.loads(line) for line in service.log.read_text().splitlines()]
    (failed,) = (line for line in lines if line["event"] == "request failed")
    assert (failed["log_id"], failed["method"], failed["status"]) == (77, PATH, "INVALID_ARGUMENT")
    assert "secret-user" not in service.log.read_text()
    assert [span.trace_id for span in receiver.spans if span.kind == "server"] == [trace_id]
    assert tree(receiver.spans, caller)[0][0] == PATH[1:]


def test_calls_by_both_protocols_share_one_limit(tmp_path: Path) -> None:
    redis = start_redis(tmp_path)
    fill(redis)
    settings = http_settings(redis, RECMESH_MAX_IN_FLIGHT="2", RECMESH_DEFAULT_TIMEOUT="60")
    with running("feed", settings) as service, grpc.insecure_channel(service.target("feed")) as channel:
        port = http_port(settings)
        message = RecordActionsRequest(actions=[Action(user_id="u", sku_id="i")])
        redis.signal_group(signal.SIGSTOP)
        held = RECORD_ACTIONS.on(channel).future(message, timeout=60)
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            connection.request("POST", PATH, '{"actions": [{"userId": "u", "skuId": "i"}]}', JSON)
            wait_until(lambda: service.metrics()['recmesh_requests_in_flight{service="feed"}'] == 2, service, "feed")
            status, code, message_text = request(port, PATH, "{}").error
            assert (status, code) == (429, "resource_exhausted")
            assert message_text.startswith("all capacity is in use")
            with pytest.raises(grpc.RpcError) as refused:
                RECORD_ACTIONS.on(channel)(message, timeout=60)
            assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert service.metrics()['recmesh_refused_requests_total{reason="limit",service="feed"}'] == 2
            redis.signal_group(signal.SIGCONT)
            assert read(connection).json["accepted"] == 1
        assert held.result().accepted == 1
    redis.stop()


def test_a_call_ends_with_its_deadline_or_its_client(tmp_path: Path) -> None:
    redis = start_redis(tmp_path)
    fill(redis)
    settings = http_settings(redis, RECMESH_DEFAULT_TIMEOUT="60")
    body, soon = '{"actions": [{"userId": "u", "skuId": "i"}]}', {**JSON, "connect-timeout-ms": "200"}
    with running("feed", settings) as service:
        port = http_port(settings)
        in_flight = 'recmesh_requests_in_flight{service="feed"}'
        canceled = 'recmesh_requests_total{caller="online",method="record_actions",service="feed",status="CANCELLED"}'
        redis.signal_group(signal.SIGSTOP)
        assert request(port, PATH, body, soon).error[:2] == (504, "deadline_exceeded")
        before = service.metrics().get(canceled, 0.0)  # The deadline of the call to Redis passes at the same time.
        with closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
            connection.request("POST", PATH, body, JSON)
            wait_until(lambda: service.metrics()[in_flight] == 1, service, "feed")
        wait_until(lambda: service.metrics().get(canceled) == before + 1, service, "feed")
        assert service.metrics()[in_flight] == 0
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            connection.putrequest("POST", PATH)
            for name, value in {**soon, "content-length": "2"}.items():
                connection.putheader(name, value)
            connection.endheaders(b"{")
            assert read(connection).error == (504, "deadline_exceeded", "the request did not arrive in time")
        redis.signal_group(signal.SIGCONT)
    redis.stop()


def test_requests_in_flight_at_sigterm_are_answered(tmp_path: Path) -> None:
    redis = start_redis(tmp_path)
    fill(redis)
    settings = http_settings(redis, RECMESH_DEFAULT_TIMEOUT="60", RECMESH_DRAIN_TIMEOUT="60", RECMESH_DRAIN_DELAY="0.5")
    with running("feed", settings) as service:
        port = http_port(settings)
        idle = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        idle.request("GET", "/healthz")
        assert (read(idle).status, idle.sock is not None) == (200, True)
        redis.signal_group(signal.SIGSTOP)
        held = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        held.request("POST", PATH, '{"actions": [{"userId": "u", "skuId": "i"}]}', JSON)
        wait_until(lambda: service.metrics()['recmesh_requests_in_flight{service="feed"}'] == 1, service, "feed")
        service.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "draining" in service.log.read_text(), service, "feed")
        redis.signal_group(signal.SIGCONT)
        answer = read(held)
        assert (answer.status, answer.json["accepted"], answer.headers["connection"]) == (200, 1, "close")
        assert service.process.wait(60) == 0
        assert json.loads(service.log.read_text().splitlines()[-1])["event"] == "stopped"
        assert idle.sock.recv(1) == b""
        idle.close()
    redis.stop()


def test_a_service_that_is_not_ready_says_so() -> None:
    with running_redis() as empty:
        settings = http_settings(empty)
        with running("feed", settings, ready=False) as service:
            wait_until(lambda: f":{http_port(settings)}" in service.log.read_text(), service, "feed")
            health = request(http_port(settings), "/healthz", method="GET")
            assert (health.status, health.json) == (503, {"status": "NOT_SERVING"})
            body = '{"actions": [{"userId": "u", "skuId": "i"}]}'
            status, code, message = request(http_port(settings), PATH, body).error
            assert (status, code) == (503, "unavailable")
            assert "run an ingestion" in message
            fill(empty)
            wait_until(lambda: service.serving("feed"), service, "feed")
            assert request(http_port(settings), "/healthz", method="GET").json == {"status": "SERVING"}


def test_a_port_in_use_is_named_by_its_setting(store: RedisServer) -> None:
    settings = http_settings(store)
    with hold(http_port(settings)) as taken:
        taken.listen()
        with running("feed", settings, ready=False) as service:
            assert service.process.wait(60) == 2
            last = service.log.read_text().splitlines()[-1]
    assert last == (
        f"feed: 127.0.0.1:{http_port(settings)} cannot be bound: set RECMESH_FEED_HTTP_PORT to a free port, "
        "or RECMESH_HOST"
    )


def test_answers_and_examples_are_those_of_the_description(port: int) -> None:
    described = request(port, "/openapi.json", method="GET").json
    for path, operations in described["paths"].items():
        operation = operations["post"]
        content = operation["requestBody"]["content"]["application/json"]
        validate(described, content["schema"], content["example"])
        answer = request(port, path, json.dumps(content["example"]))
        assert answer.status == 200
        validate(described, operation["responses"]["200"]["content"]["application/json"]["schema"], answer.json)
        validate(described, {"$ref": "#/components/schemas/Error"}, request(port, path, "[]").json)
        with pytest.raises(jsonschema.ValidationError, match="Additional properties"):
            validate(described, content["schema"], {"unheardOf": 1})


def validate(described: dict[str, Any], schema: dict[str, Any], value: Any) -> None:
    jsonschema.validate(value, {**schema, "components": described["components"]})


def test_the_page_for_people_needs_nothing_else(port: int) -> None:
    page = request(port, "/", method="GET")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"default-src 'none'" in page.body
    assert all(method.path.encode() in page.body for method, _ in CALLS)
