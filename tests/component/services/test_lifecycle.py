"""What all services have in common: health, reflection, limits, metrics, traces, logs and shutdown."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import grpc
import psutil
import pytest
import redis
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from local.ports import free_ports, hold
from recmesh.contract import OK
from recmesh.pb.um_pb2 import UserModelRequest, UserModelResponse
from recmesh.stores.redis import RedisWriter
from recmesh.stores.wire import user_encoder
from tests.calls import UM
from tests.otlp import grpc_receiver, tree
from tests.passwords import ALL_ASCII
from tests.processes import Service, health_of, port_variables, running, start_service
from tests.servers import ROOT, RedisServer, start_redis, wait_until

REQUEST_SERIES = ("recmesh_requests_total", "recmesh_request_seconds")
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis with user 5, which a test may freeze or kill."""
    server = start_redis(tmp_path)
    fill(server)
    yield server
    server.stop()


def fill(server: RedisServer) -> None:
    writer = RedisWriter(server.url)
    writer.write({writer.keys.user("5"): user_encoder(["age"])(["5", "3"])})
    writer.close()


def ask(
    channel: grpc.Channel, timeout: float | None = 5, metadata: Sequence[tuple[str, str]] = ()
) -> UserModelResponse:
    return UM.on(channel)(UserModelRequest(user_id="5"), timeout=timeout, metadata=tuple(metadata))


def log_records(service: Service) -> list[dict[str, object]]:
    return [json.loads(line) for line in service.log.read_text().splitlines()]


def test_settings_are_logged_once_with_secrets_masked(shop: RedisServer) -> None:
    url = shop.url.replace("redis://", "redis://:sesame@")
    with running("um", {"RECMESH_REDIS_URL": url}, ready=False) as service:
        wait_until(lambda: "listening" in service.log.read_text(), service, "um")
        log = service.log.read_text()

    (settings,) = [json.loads(line) for line in log.splitlines() if '"event": "settings"' in line]
    assert settings["redis_url"] == shop.url.replace("redis://", "redis://***@")
    assert settings["um_port"] == service.ports["um"]
    assert "sesame" not in log


def test_a_password_of_its_own_is_used_and_not_logged(tmp_path: Path) -> None:
    server = start_redis(tmp_path, password=ALL_ASCII)
    try:
        with running("um", {"RECMESH_REDIS_URL": server.url, "RECMESH_REDIS_PASSWORD": ALL_ASCII}) as service:
            (settings,) = [record for record in log_records(service) if record["event"] == "settings"]
            log = service.log.read_text()
            arguments = psutil.Process(service.pid).cmdline()
    finally:
        server.stop()

    shown = {name: settings[name] for name in ("redis_url", "redis_username", "redis_password", "redis_password_file")}
    assert shown == {
        "redis_url": server.url,
        "redis_username": "",
        "redis_password": "***",
        "redis_password_file": None,
    }
    assert json.dumps(ALL_ASCII)[1:-1] not in log
    assert arguments[1:] == ["-m", "services.um"]


def test_a_service_with_a_wrong_password_says_what_to_do_and_serves_once_it_is_right(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(f"{ALL_ASCII}\n")
    server = start_redis(tmp_path)
    settings = {"RECMESH_REDIS_URL": server.url, "RECMESH_REDIS_PASSWORD_FILE": str(file)}
    try:
        with running("um", settings, ready=False) as service:
            wait_until(lambda: "AuthenticationError" in service.log.read_text(), service, "um")
            with redis.Redis(port=server.port) as client:
                client.config_set("requirepass", ALL_ASCII)
            wait_until(lambda: service.serving("um"), service, "um")
            records, log = log_records(service), service.log.read_text()
    finally:
        server.stop()

    reasons = [record["reason"] for record in records if record["event"] == "not serving"]
    assert reasons == [
        "starting",
        f"Redis {server.url}: AuthenticationError: AUTH <password> called without any password configured for the "
        "default user. Are you sure your configuration is correct?; check RECMESH_REDIS_USERNAME and "
        "RECMESH_REDIS_PASSWORD or RECMESH_REDIS_PASSWORD_FILE",
    ]
    assert json.dumps(ALL_ASCII)[1:-1] not in log


def test_unusable_credentials_give_a_one_line_error(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    for environment, start in (
        ({"RECMESH_REDIS_URL": "redis://:ses/ame@127.0.0.1:6379/0"}, "um: RECMESH_REDIS_URL must be redis://host"),
        ({"RECMESH_REDIS_PASSWORD_FILE": missing}, f"um: RECMESH_REDIS_PASSWORD_FILE {missing} cannot be read"),
    ):
        done = run_um({**environment, **port_variables({"um": free_ports(1)[0]})})
        assert done.returncode == 2
        assert done.stderr.startswith(start)
        assert len(done.stderr.splitlines()) == 1
        assert "ame@" not in done.stderr + done.stdout


def test_an_invalid_setting_gives_a_one_line_error() -> None:
    done = run_um({"RECMESH_MAX_IN_FLIGHT": "many"})

    assert done.returncode == 2
    assert done.stderr.startswith("um: RECMESH_MAX_IN_FLIGHT:")
    assert len(done.stderr.splitlines()) == 1


def test_a_port_in_use_gives_an_error_that_names_its_setting() -> None:
    ports = {"um": free_ports(1)[0], "metrics": free_ports(1)[0]}
    with hold(ports["um"]) as taken:
        taken.listen()
        done = run_um(port_variables(ports))

    assert done.returncode == 2
    assert f"127.0.0.1:{ports['um']} cannot be bound: set RECMESH_UM_PORT" in done.stderr


def run_um(environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "services.um"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30, check=False)


def test_reflection_lists_the_service(um: Service) -> None:
    with grpc.insecure_channel(um.target("um")) as channel:
        services = ProtoReflectionDescriptorDatabase(channel).get_services()

    assert set(services) == {"um.UMService", "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}


def test_health_answers_for_the_name_of_the_service(um: Service) -> None:
    with grpc.insecure_channel(um.target("um")) as channel:
        request = health_pb2.HealthCheckRequest(service="um.UMService")
        answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=5)

    assert answer.status == SERVING


def test_health_depends_on_redis(own_redis: RedisServer, tmp_path: Path) -> None:
    with (
        running("um", {"RECMESH_REDIS_URL": own_redis.url}) as service,
        grpc.insecure_channel(service.target("um")) as channel,
    ):
        own_redis.kill()
        with pytest.raises(grpc.RpcError) as failed:
            ask(channel)
        assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
        wait_until(lambda: health_of(service.target("um")) == NOT_SERVING, service, "um")
        assert health_of(service.target("um"), name="live") == SERVING  # A restart would not help.

        again = start_redis(tmp_path, own_redis.port)
        try:
            fill(again)
            wait_until(lambda: service.serving("um"), service, "um")
            assert ask(channel).error.code == OK
        finally:
            again.stop()


def test_calls_beyond_the_limit_are_refused_while_health_answers(own_redis: RedisServer) -> None:
    settings = {"RECMESH_REDIS_URL": own_redis.url, "RECMESH_MAX_IN_FLIGHT": "2", "RECMESH_DEFAULT_TIMEOUT": "30"}
    with running("um", settings) as service, grpc.insecure_channel(service.target("um")) as channel:
        own_redis.signal_group(signal.SIGSTOP)
        held = [UM.on(channel).future(UserModelRequest(user_id="5"), timeout=30) for _ in range(2)]
        wait_until(lambda: service.metrics()['recmesh_requests_in_flight{service="um"}'] == 2, service, "um")

        with pytest.raises(grpc.RpcError) as refused:
            ask(channel)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (refused.value.details() or "").startswith("all capacity is in use")
        assert service.metrics()['recmesh_requests_limit{service="um"}'] == 2
        assert (
            service.metrics()[
                'recmesh_requests_total{caller="online",method="um_call",service="um",status="RESOURCE_EXHAUSTED"}'
            ]
            == 1
        )
        assert health_of(service.target("um")) is not None

        own_redis.signal_group(signal.SIGCONT)
        assert [call.result().error.code for call in held] == [OK, OK]


def test_calls_that_can_wait_are_refused_first(own_redis: RedisServer) -> None:
    settings = {"RECMESH_REDIS_URL": own_redis.url, "RECMESH_MAX_IN_FLIGHT": "4"}
    with running("um", settings) as service, grpc.insecure_channel(service.target("um")) as channel:
        own_redis.signal_group(signal.SIGSTOP)
        call, request = UM.on(channel), UserModelRequest(user_id="5")
        held = [call.future(request, timeout=30) for _ in range(3)]
        wait_until(lambda: service.metrics()['recmesh_requests_in_flight{service="um"}'] == 3, service, "um")

        with pytest.raises(grpc.RpcError) as refused:
            call(request, timeout=30, metadata=(("recmesh-priority", "batch"),))
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        held.append(call.future(request, timeout=30))
        wait_until(lambda: service.metrics()['recmesh_requests_in_flight{service="um"}'] == 4, service, "um")

        own_redis.signal_group(signal.SIGCONT)
        assert [call.result().error.code for call in held] == [OK] * 4


def test_a_request_without_a_deadline_gets_the_default_timeout(own_redis: RedisServer) -> None:
    settings = {"RECMESH_REDIS_URL": own_redis.url, "RECMESH_DEFAULT_TIMEOUT": "0.3"}
    with running("um", settings) as service, grpc.insecure_channel(service.target("um")) as channel:
        own_redis.signal_group(signal.SIGSTOP)
        with pytest.raises(grpc.RpcError) as late:
            ask(channel, timeout=None)

    assert late.value.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE)


def test_calls_in_flight_at_sigterm_are_answered(own_redis: RedisServer) -> None:
    settings = {"RECMESH_REDIS_URL": own_redis.url, "RECMESH_DEFAULT_TIMEOUT": "30", "RECMESH_DRAIN_TIMEOUT": "30"}
    with running("um", settings) as service, grpc.insecure_channel(service.target("um")) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == SERVING
        own_redis.signal_group(signal.SIGSTOP)
        held = UM.on(channel).future(UserModelRequest(user_id="5"), timeout=30)
        wait_until(lambda: service.metrics()['recmesh_requests_in_flight{service="um"}'] == 1, service, "um")

        service.process.send_signal(signal.SIGTERM)
        assert next(watch).status == NOT_SERVING
        own_redis.signal_group(signal.SIGCONT)

        assert held.result().error.code == OK
        assert service.process.wait(30) == 0
        assert log_records(service)[-1]["event"] == "stopped"


def test_probes_create_no_spans_log_lines_or_request_metrics(shop: RedisServer, tmp_path: Path) -> None:
    """Sampled requests, in contrast, create spans."""
    with grpc_receiver() as receiver:
        settings = {
            "RECMESH_REDIS_URL": shop.url,
            "RECMESH_OTLP_ENDPOINT": receiver.endpoint,
            "RECMESH_TRACE_SLOW": "60",
        }
        service = start_service("um", tmp_path, settings)
        lines = len(log_records(service))
        for _ in range(20):
            assert service.serving("um")
            service.metrics()
        with grpc.insecure_channel(service.target("um")) as channel:
            ProtoReflectionDescriptorDatabase(channel).get_services()
            assert not [name for name in service.metrics() if name.startswith(REQUEST_SERIES)]
            assert len(log_records(service)) == lines

            unsampled = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-00"
            sampled = "00-" + "12" * 16 + "-" + "34" * 8 + "-01"
            for parent in (unsampled, sampled):
                ask(channel, metadata=(("traceparent", parent),))
        service.stop(grace=20)

    assert {span.trace_id for span in receiver.spans} == {"12" * 16}
    assert tree(receiver.spans, "34" * 8)[0][0] == "um.UMService/um_call"


def test_requests_are_counted_by_status(um: Service) -> None:
    with grpc.insecure_channel(um.target("um")) as channel:
        ask(channel)
        metrics = um.metrics()

    assert metrics['recmesh_requests_total{caller="online",method="um_call",service="um",status="OK"}'] >= 1
    assert metrics['recmesh_request_seconds_count{method="um_call",service="um"}'] >= 1
    assert metrics['recmesh_serving{service="um"}'] == 1
    assert "recmesh_event_loop_lag_seconds" in metrics


def refused(service: Service, content: bytes) -> tuple[grpc.StatusCode, str]:
    """How um refuses a request given as bytes."""
    with grpc.insecure_channel(service.target("um"), options=[("grpc.max_send_message_length", -1)]) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/um.UMService/um_call")
        with pytest.raises(grpc.RpcError) as raised:
            call(content, timeout=10)
        return raised.value.code(), str(raised.value.details())


def test_broken_and_oversized_requests_are_the_callers_fault(um: Service) -> None:
    lines = len(um.log.read_text().splitlines())
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    series = 'recmesh_requests_total{caller="online",method="um_call",service="um",status="INVALID_ARGUMENT"}'
    before = um.metrics().get(series, 0.0)

    began = time.monotonic()
    assert refused(um, b"\xff\xfe no message") == (invalid, "the request is no um.UserModelRequest")
    long_id = UserModelRequest(user_id="x" * 900_000).SerializeToString()
    assert refused(um, long_id) == (invalid, "user_id: an id has 900,000 bytes: at most 128")
    assert refused(um, b"\x00" * 2_000_000) == (invalid, "the request has 2,000,000 bytes: at most 1,048,576")
    for _ in range(200):
        refused(um, b"\xff\xfe no message")
    seconds = time.monotonic() - began

    assert um.metrics()[series] == before + 203
    written = um.log.read_text().splitlines()[lines:]
    assert 1 <= len(written) < 50
    refusals = [record for record in map(json.loads, written) if record.get("status") == "INVALID_ARGUMENT"]
    assert len(refusals) <= 1 + seconds
    assert sum(record["requests"] for record in refusals) >= len(refusals)
    assert {record["method"] for record in refusals} == {"/um.UMService/um_call"}
    assert all(len(line) < 1_000 and "Traceback" not in line for line in written)
