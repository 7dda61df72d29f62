"""Spans on their way to a receiver of OTLP: which ones, how, and what happens if there is no receiver."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import grpc
import pytest

import recmesh
from recmesh.contract import OK
from recmesh.pb.um_pb2 import UserModelRequest, UserModelResponse
from tests.calls import UM
from tests.certificates import self_signed
from tests.otlp import Certificate, Receiver, grpc_receiver, http_receiver, make_certificate, tree
from tests.processes import Service, start_service
from tests.servers import ROOT, RedisServer, start_redis, wait_until

Serve = Callable[[Certificate | None], AbstractContextManager[Receiver]]

PROTOCOLS = {"grpc": grpc_receiver, "http/protobuf": http_receiver}
CALL = "um.UMService/um_call"
NEVER, QUICK = "3600", "0"
"""Values of RECMESH_TRACE_SLOW: no request takes as long, and every one does."""


@pytest.fixture(params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextmanager
def traced_um(folder: Path, redis: RedisServer, settings: Mapping[str, str]) -> Iterator[Service]:
    """um, which samples nothing unless its settings say so. At the end of the block, all spans have been sent."""
    defaults = {"RECMESH_REDIS_URL": redis.url, "RECMESH_TRACE_RATIO": "0", "RECMESH_DRAIN_DELAY": "0"}
    service = start_service("um", folder, {**defaults, **settings})
    try:
        yield service
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(60) == 0
    finally:
        service.stop()


def ask(service: Service, *user_ids: str, timeout: float = 30) -> list[UserModelResponse]:
    with grpc.insecure_channel(service.target("um")) as channel:
        call = UM.on(channel)
        return [call(UserModelRequest(user_id=user_id), timeout=timeout) for user_id in user_ids]


def test_a_request_arrives_with_its_call_to_redis_and_with_the_resource(
    protocol: str, shop: RedisServer, tmp_path: Path
) -> None:
    with PROTOCOLS[protocol]() as receiver:
        settings = {
            "RECMESH_OTLP_ENDPOINT": receiver.endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_RESOURCE_ATTRIBUTES": "service.instance.id=pod-1,k8s.pod.name=um-7",
            "RECMESH_TRACE_RATIO": "1",
            "RECMESH_TRACE_SLOW": NEVER,
        }
        with traced_um(tmp_path, shop, settings) as service:
            ask(service, "5")

    request = next(span for span in receiver.spans if span.kind == "server")
    redis = next(span for span in receiver.spans if span.name == "MGET")
    assert request.name == CALL
    assert request.attributes == {
        "rpc.system.name": "grpc",
        "rpc.method": CALL,
        "rpc.response.status_code": "OK",
        "recmesh.kept": "sampled",
    }
    assert (redis.kind, redis.parent_id, redis.trace_id) == ("client", request.span_id, request.trace_id)
    assert redis.attributes == {
        "db.system.name": "redis",
        "db.operation.name": "MGET",
        "server.address": "127.0.0.1",
        "server.port": shop.port,
        "recmesh.keys": 2,
    }
    assert {
        "service.name": "um",
        "service.namespace": "recmesh",
        "service.version": recmesh.__version__,
        "service.instance.id": "pod-1",
        "k8s.pod.name": "um-7",
    }.items() <= request.resource.items()


def test_headers_and_a_private_authority_are_used(protocol: str, shop: RedisServer, tmp_path: Path) -> None:
    tls = make_certificate(tmp_path)
    with PROTOCOLS[protocol](tls) as receiver:
        settings = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20sesame,x-shop=7",
            "OTEL_EXPORTER_OTLP_CERTIFICATE": str(tls.certificate),
            "RECMESH_TRACE_RATIO": "1",
        }
        with traced_um(tmp_path, shop, settings) as service:
            ask(service, "5")
            assert "sesame" not in service.log.read_text()

    assert CALL in {span.name for span in receiver.spans}
    assert all((sent["authorization"], sent["x-shop"]) == ("Bearer sesame", "7") for sent in receiver.headers)


def test_a_renewed_authority_is_read_again(protocol: str, shop: RedisServer, tmp_path: Path) -> None:
    tls, trusted = make_certificate(tmp_path), tmp_path / "trusted.crt"
    trusted.write_bytes(self_signed()[1])
    with PROTOCOLS[protocol](tls) as receiver:
        settings = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_EXPORTER_OTLP_CERTIFICATE": str(trusted),
            "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "RECMESH_TRACE_RATIO": "1",
        }
        with traced_um(tmp_path, shop, settings) as service:
            ask(service, "5")
            wait_until(lambda: "export" in service.log.read_text(), service, "a failed export", 30)
            assert receiver.spans == []
            trusted.write_bytes(tls.certificate.read_bytes())
            ask(service, "6")

    assert CALL in {span.name for span in receiver.spans}


def test_without_the_authority_nothing_is_sent(protocol: str, shop: RedisServer, tmp_path: Path) -> None:
    with PROTOCOLS[protocol](make_certificate(tmp_path)) as receiver:
        settings = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "RECMESH_TRACE_RATIO": "1",
        }
        with traced_um(tmp_path, shop, settings) as service:
            assert ask(service, "5")[0].error.code == OK

    assert receiver.spans == []


def test_quick_requests_are_dropped(shop: RedisServer, tmp_path: Path) -> None:
    with grpc_receiver() as receiver:
        settings = {"RECMESH_OTLP_ENDPOINT": receiver.endpoint, "RECMESH_TRACE_SLOW": NEVER}
        with traced_um(tmp_path, shop, settings) as service:
            ask(service, *["5"] * 20, "no such user")

    assert receiver.spans == []


def test_slow_requests_are_kept(shop: RedisServer, tmp_path: Path) -> None:
    with grpc_receiver() as receiver:
        settings = {"RECMESH_OTLP_ENDPOINT": receiver.endpoint, "RECMESH_TRACE_SLOW": QUICK}
        with traced_um(tmp_path, shop, settings) as service:
            ask(service, "5", "6")

    requests = [span for span in receiver.spans if span.kind == "server"]
    assert [request.attributes["recmesh.kept"] for request in requests] == ["slow", "slow"]
    assert tree(receiver.trace(requests[1].trace_id)) == [(CALL, [("MGET", [])])]


def test_failed_requests_are_kept_and_have_the_ids_of_their_log_line(tmp_path: Path) -> None:
    redis = start_redis(tmp_path)
    with grpc_receiver() as receiver:
        settings = {"RECMESH_OTLP_ENDPOINT": receiver.endpoint, "RECMESH_TRACE_SLOW": NEVER}
        with traced_um(tmp_path, redis, settings) as service:
            redis.stop()
            with pytest.raises(grpc.RpcError) as failed:
                ask(service, "secret-user")
            assert failed.value.code() is grpc.StatusCode.UNAVAILABLE

    (request,) = (span for span in receiver.spans if span.kind == "server")
    (redis_call,) = (span for span in receiver.spans if span.kind == "client")
    assert (request.attributes["recmesh.kept"], request.attributes["error.type"]) == ("failed", "UNAVAILABLE")
    assert request.failed and redis_call.failed
    assert "secret-user" not in str(receiver.spans)
    lines = [json.loads(line) for line in service.log.read_text().splitlines()]
    (line,) = (line for line in lines if line["event"] == "request failed")
    assert (line["trace_id"], line["span_id"]) == (request.trace_id, request.span_id)


@pytest.mark.parametrize("kind", ["refusing", "silent"])
def test_callers_do_not_notice_that_there_is_no_receiver(
    protocol: str, kind: str, shop: RedisServer, tmp_path: Path
) -> None:
    """The queue is full after five requests. The exporter alone would repeat an export for half a minute."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if kind == "silent":
            listener.listen()
        settings = {
            "RECMESH_OTLP_ENDPOINT": f"http://127.0.0.1:{listener.getsockname()[1]}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_BSP_SCHEDULE_DELAY": "10",
            "OTEL_BSP_MAX_QUEUE_SIZE": "10",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "10",
            "RECMESH_TRACE_RATIO": "1",
        }
        with traced_um(tmp_path, shop, settings) as service:
            lines = len(service.log.read_text().splitlines())
            answers = ask(service, *["5"] * 300)
            new_lines = service.log.read_text().splitlines()[lines:]

    assert {answer.error.code for answer in answers} == {OK}
    assert len(new_lines) <= 6  # One a minute of each module of OpenTelemetry.
    assert all(json.loads(line)["level"] in ("warning", "error") for line in new_lines)


@pytest.mark.parametrize(
    "switch", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}, {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}]
)
def test_tracing_can_be_switched_off(switch: dict[str, str], shop: RedisServer, tmp_path: Path) -> None:
    with grpc_receiver() as receiver:
        settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "RECMESH_TRACE_SLOW": QUICK, **switch}
        with traced_um(tmp_path, shop, settings) as service:
            ask(service, "5")

    assert receiver.spans == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"},
            "OTEL_EXPORTER_OTLP_PROTOCOL http/json: use grpc or http/protobuf",
        ),
        ({"OTEL_EXPORTER_OTLP_CERTIFICATE": "/no/ca.crt"}, "OTEL_EXPORTER_OTLP_CERTIFICATE: /no/ca.crt is not a file"),
        ({"OTEL_EXPORTER_OTLP_TIMEOUT": "soon"}, "OTEL_EXPORTER_OTLP_*: could not convert string to float: 'soon'"),
        ({"RECMESH_TRACE_SLOW": "-1"}, "RECMESH_TRACE_SLOW: Input should be greater than or equal to 0"),
    ],
)
def test_an_impossible_setting_gives_a_one_line_error(settings: dict[str, str], message: str) -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "RECMESH_METRICS_PORT": "0", **settings}
    command = [sys.executable, "-m", "services.um"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (2, f"um: {message}\n")
