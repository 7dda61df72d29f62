"""What every service does besides answering: health, reflection, limits, metrics, traces, logs and its end."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from local.ports import hold
from recmesh.pb.um_pb2 import UserModelRequest, UserModelResponse
from recmesh.pb.um_pb2_grpc import UMServiceStub
from recmesh.stores.redis import USER, RedisWriter
from recmesh.stores.wire import user_encoder
from tests.processes import Service, free_ports, health_of, port_variables, running, start_service
from tests.servers import ROOT, RedisServer, start_redis, wait_until

REQUEST_SERIES = ("recmesh_requests_total", "recmesh_request_seconds")
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis with user 5, to freeze and to kill."""
    server = start_redis(tmp_path)
    fill(server)
    yield server
    server.stop()


def fill(server: RedisServer) -> None:
    writer = RedisWriter(server.url)
    writer.write({USER + "5": user_encoder(["age"])(["5", "3"])})
    writer.close()


def ask(channel: grpc.Channel, timeout: float | None = 5, **options: object) -> UserModelResponse:
    return UMServiceStub(channel).um_call(UserModelRequest(user_id="5"), timeout=timeout, **options)


def logged(service: Service) -> list[dict[str, object]]:
    return [json.loads(line) for line in service.log.read_text().splitlines()]


def test_settings_are_printed_once_with_secrets_masked(shop: RedisServer) -> None:
    url = shop.url.replace("redis://", "redis://:sesame@")
    with running("um", {"RECMESH_REDIS_URL": url}, ready=False) as service:
        wait_until(lambda: "listening" in service.log.read_text(), service, "um")
        log = service.log.read_text()

    (settings,) = [json.loads(line) for line in log.splitlines() if '"event": "settings"' in line]
    assert settings["redis_url"] == shop.url.replace("redis://", "redis://***@")
    assert settings["um_port"] == service.ports["um"]
    assert "sesame" not in log


def test_a_setting_that_cannot_work_is_one_clear_line() -> None:
    done = run_um({"RECMESH_MAX_IN_FLIGHT": "many"})

    assert done.returncode == 2
    assert done.stderr.startswith("um: RECMESH_MAX_IN_FLIGHT:")
    assert len(done.stderr.splitlines()) == 1


def test_a_taken_port_is_one_clear_line() -> None:
    ports = {"um": free_ports(1)[0], "metrics": free_ports(1)[0]}
    with hold(ports["um"]) as taken:
        taken.listen()
        done = run_um(port_variables(ports))

    assert done.returncode == 2
    assert f"127.0.0.1:{ports['um']} cannot be bound: set RECMESH_UM_PORT" in done.stderr


def run_um(environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "services.um"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30, check=False)


def test_reflection_names_the_service(um: Service) -> None:
    with grpc.insecure_channel(um.target("um")) as channel:
        services = ProtoReflectionDescriptorDatabase(channel).get_services()

    assert set(services) == {"um.UMService", "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}


def test_health_knows_the_service_by_name(um: Service) -> None:
    with grpc.insecure_channel(um.target("um")) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(service="um.UMService"), timeout=5
        )

    assert answer.status == SERVING


def test_health_follows_redis_and_comes_back_with_it(own_redis: RedisServer, tmp_path: Path) -> None:
    with (
        running("um", {"RECMESH_REDIS_URL": own_redis.url}) as service,
        grpc.insecure_channel(service.target("um")) as channel,
    ):
        own_redis.kill()
        with pytest.raises(grpc.RpcError) as failed:
            ask(channel)
        assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
        wait_until(lambda: health_of(service.target("um")) == NOT_SERVING, service, "um")
        assert health_of(service.target("um"), name="live") == SERVING  # nothing is gained by a restart

        again = start_redis(tmp_path, own_redis.port)
        try:
            fill(again)
            wait_until(lambda: service.serving("um"), service, "um")
            assert ask(channel).error.code == 200
        finally:
            again.stop()


def test_calls_beyond_the_limit_are_refused_while_health_answers(own_redis: RedisServer) -> None:
    settings = {"RECMESH_REDIS_URL": own_redis.url, "RECMESH_MAX_IN_FLIGHT": "2", "RECMESH_DEFAULT_TIMEOUT": "30"}
    with running("um", settings) as service, grpc.insecure_channel(service.target("um")) as channel:
        own_redis.signal_group(signal.SIGSTOP)
        stub = UMServiceStub(channel)
        held = [stub.um_call.future(UserModelRequest(user_id="5"), timeout=30) for _ in range(2)]
        wait_until(lambda: service.metrics()['recmesh_requests_in_flight{service="um"}'] == 2, service, "um")

        with pytest.raises(grpc.RpcError) as refused:
            ask(channel)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "2 requests" in refused.value.details()
        assert health_of(service.target("um")) is not None

        own_redis.signal_group(signal.SIGCONT)
        assert [call.result().error.code for call in held] == [200, 200]


def test_a_request_without_a_deadline_gets_the_default_one(own_redis: RedisServer) -> None:
    settings = {"RECMESH_REDIS_URL": own_redis.url, "RECMESH_DEFAULT_TIMEOUT": "0.3"}
    with running("um", settings) as service, grpc.insecure_channel(service.target("um")) as channel:
        own_redis.signal_group(signal.SIGSTOP)
        with pytest.raises(grpc.RpcError) as late:
            ask(channel, timeout=None)

    assert late.value.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE)


def test_sigterm_lets_calls_in_flight_finish(own_redis: RedisServer) -> None:
    settings = {"RECMESH_REDIS_URL": own_redis.url, "RECMESH_DEFAULT_TIMEOUT": "30", "RECMESH_DRAIN_TIMEOUT": "30"}
    with running("um", settings) as service, grpc.insecure_channel(service.target("um")) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == SERVING
        own_redis.signal_group(signal.SIGSTOP)
        held = UMServiceStub(channel).um_call.future(UserModelRequest(user_id="5"), timeout=30)
        wait_until(lambda: service.metrics()['recmesh_requests_in_flight{service="um"}'] == 1, service, "um")

        service.process.send_signal(signal.SIGTERM)
        assert next(watch).status == NOT_SERVING
        own_redis.signal_group(signal.SIGCONT)

        assert held.result().error.code == 200
        assert service.process.wait(30) == 0
        assert logged(service)[-1]["event"] == "stopped"


def test_probes_leave_no_spans_no_log_lines_and_no_request_rates(shop: RedisServer, tmp_path: Path) -> None:
    """C45, and that sampled requests do leave spans."""
    with collector() as (endpoint, spans):
        settings = {"RECMESH_REDIS_URL": shop.url, "RECMESH_OTLP_ENDPOINT": endpoint, "RECMESH_TRACE_RATIO": "1"}
        service = start_service("um", tmp_path, settings)
        lines = len(logged(service))
        for _ in range(20):
            assert service.serving("um")
            service.metrics()
        with grpc.insecure_channel(service.target("um")) as channel:
            ProtoReflectionDescriptorDatabase(channel).get_services()
            assert not [name for name in service.metrics() if name.startswith(REQUEST_SERIES)]
            assert len(logged(service)) == lines

            unsampled = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-00"
            sampled = "00-" + "12" * 16 + "-" + "34" * 8 + "-01"
            for parent in (unsampled, sampled):
                ask(channel, metadata=(("traceparent", parent),))
        service.stop(grace=20)

    assert {(span.name, span.trace_id.hex(), span.parent_span_id.hex()) for span in spans} == {
        ("/um.UMService/um_call", "12" * 16, "34" * 8)
    }


class collector:  # noqa: N801 - used like a function
    """A collector of spans on a free port, with the spans that it got."""

    def __enter__(self) -> tuple[str, list[object]]:
        spans: list[object] = []

        class Servicer(trace_service_pb2_grpc.TraceServiceServicer):
            def Export(self, request, context):  # noqa: N802
                spans.extend(s for r in request.resource_spans for scope in r.scope_spans for s in scope.spans)
                return trace_service_pb2.ExportTraceServiceResponse()

        self._server = grpc.server(futures.ThreadPoolExecutor(1))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Servicer(), self._server)
        port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()
        return f"http://127.0.0.1:{port}", spans

    def __exit__(self, *_: object) -> None:
        self._server.stop(0).wait()


def test_requests_are_counted_by_status(um: Service) -> None:
    with grpc.insecure_channel(um.target("um")) as channel:
        ask(channel)
        figures = um.metrics()

    assert figures['recmesh_requests_total{method="um_call",service="um",status="OK"}'] >= 1
    assert figures['recmesh_request_seconds_count{method="um_call",service="um"}'] >= 1
    assert figures['recmesh_serving{service="um"}'] == 1
    assert "recmesh_event_loop_lag_seconds" in figures
