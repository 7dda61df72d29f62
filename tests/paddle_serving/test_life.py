"""Paddle Serving loses parts, moves to new releases, and stops: what callers notice, and what is left behind."""

import json
import shutil
import signal
import socket
import tempfile
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest
from grpc_health.v1 import health_pb2

from recmesh.pb.as_pb2 import ASResponse
from recmesh.pb.pipeline_service_pb2 import Response
from recmesh.pb.pipeline_service_pb2_grpc import PipelineServiceStub
from recmesh.releases import ModelStore, ReferenceRequest, read_manifest, write_manifest
from services.rank.paddle_serving import wire
from tests.mesh.conftest import ask_as
from tests.mesh.test_faults import FULL, degraded, load, until_whole
from tests.paddle_serving.conftest import NAME, PATIENT, Gateway, by_paddle_serving, gateway
from tests.processes import Service, health_of, running
from tests.servers import wait_until
from tests.shop import Shop

WITHOUT = {"rank", "rank:paddle-serving"}
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def infer(server: Gateway, reference: ReferenceRequest, release: str = "") -> Response:
    with grpc.insecure_channel(server.address) as channel:
        return PipelineServiceStub(channel).inference(wire.make_request(release, reference.inputs), timeout=10)


def until_degraded(service: Service, user_id: str) -> None:
    wait_until(lambda: degraded(ask_as(service.target("as"), user_id=user_id)) == WITHOUT, service, "the fault")


def check_unharmed(answers: list[ASResponse]) -> None:
    """No failed answer, and nothing was missing but Paddle Serving."""
    assert all(answer.error.code == 200 and len(answer.item_infos) == FULL for answer in answers)
    assert set().union(*map(degraded, answers)) == WITHOUT


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_pipeline_that_dies_or_hangs_is_replaced(
    paddle_serving: Gateway, remote_compact: Service, trained_shop: Shop, number: signal.Signals
) -> None:
    target, user_id = remote_compact.target("as"), trained_shop.user_ids[0]
    until_whole(target, remote_compact, user_id)
    whole = ask_as(target, user_id=user_id)
    (victim,) = paddle_serving.pipelines()
    with load(target, trained_shop) as answers:
        victim.send_signal(number)
        until_degraded(remote_compact, user_id)
        if number == signal.SIGSTOP:  # A dead one is replaced before health has asked twice.
            wait_until(lambda: health_of(paddle_serving.address) == NOT_SERVING, paddle_serving, "the truth", 20)
        until_whole(target, remote_compact, user_id)

    check_unharmed(answers)
    assert not victim.is_running()
    assert ask_as(target, user_id=user_id) == whole
    wait_until(lambda: paddle_serving.serving(NAME), paddle_serving, "Paddle Serving", seconds=20)


def test_a_killed_gateway_takes_its_pipelines_along_and_comes_back(trained_shop: Shop) -> None:
    user_id = trained_shop.user_ids[0]
    with (
        gateway(trained_shop.environment) as first,
        running("compact", by_paddle_serving(trained_shop, first)) as service,
    ):
        target = service.target("as")
        until_whole(target, service, user_id)
        pipelines = first.pipelines()
        with load(target, trained_shop) as answers:
            first.process.kill()
            first.process.wait()
            until_degraded(service, user_id)
            psutil.wait_procs(pipelines, timeout=5)
            assert not [one for one in pipelines if one.is_running()], "an orphan"
            assert files_of(first)
            with gateway(trained_shop.environment, first.ports):
                until_whole(target, service, user_id)
                assert not files_of(first), "left over"
    check_unharmed(answers)


def files_of(one: Gateway) -> list[Path]:
    """The folders that a gateway keeps its pipelines' files in."""
    return list(Path(tempfile.gettempdir()).glob(f"recmesh-ps-{one.pid}-*"))


def test_it_listens_on_the_two_ports_that_it_was_given(paddle_serving: Gateway) -> None:
    processes = [psutil.Process(paddle_serving.pid), *paddle_serving.pipelines()]
    listening = {
        (connection.laddr.ip.removeprefix("::ffff:"), connection.laddr.port)
        for process in processes
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {("127.0.0.1", port) for port in paddle_serving.ports.values()}


@pytest.fixture
def own_store(trained_shop: Shop, tmp_path: Path) -> ModelStore:
    """A store with the shop's release, active; tests may put others into it."""
    store = ModelStore(str(tmp_path / "store"))
    first = str(trained_shop.store.active())
    store.put(trained_shop.store.fetch(first, tmp_path / "fetched"))
    store.activate(first, ())
    return store


def put_copy(store: ModelStore, folder: Path, release: str, *, falsified: bool = False) -> None:
    """The active release once more, under another id; falsified: its reference expects other scores."""
    shutil.copytree(store.fetch(str(store.active()), folder / "again"), folder / release)
    if falsified:
        reference = ReferenceRequest.load(folder / release)
        ReferenceRequest(
            reference.inputs, {name: scores + np.float32(1) for name, scores in reference.outputs.items()}
        ).save(folder / release)
    write_manifest(folder / release, read_manifest(folder / release).model_copy(update={"id": release}))
    store.put(folder / release)


def test_releases_follow_each_other_without_a_gap_and_nothing_is_left_at_the_end(
    own_store: ModelStore, trained_shop: Shop, tmp_path: Path, reference: ReferenceRequest
) -> None:
    first = str(own_store.active())
    settings = {
        **trained_shop.environment,
        "RECMESH_MODEL_STORE": own_store.url,
        "RECMESH_PADDLE_SERVING_LINGER": "2",
    }
    with gateway(settings) as server:
        put_copy(own_store, tmp_path, "second")
        own_store.activate("second", ())
        while infer(server, reference, "second").err_no == wire.NO_SERVICE:
            reference.check(wire.read_response(infer(server, reference, first)), 1e-5)
            assert server.serving(NAME)
        reference.check(wire.read_response(infer(server, reference, "second")), 1e-5)
        reference.check(wire.read_response(infer(server, reference, first)), 1e-5)
        wait_until(lambda: infer(server, reference, first).err_no == wire.NO_SERVICE, server, "the end of the first")
        wait_until(lambda: len(server.pipelines()) == 1, server, "the end of its pipeline")
        (pipeline,) = server.pipelines()

        put_copy(own_store, tmp_path, "false", falsified=True)
        own_store.activate("false", ())
        wait_until(lambda: "release is not served" in server.log.read_text(), server, "the refusal")
        refusal = next(line for line in server.log.read_text().splitlines() if "is not served" in line)
        assert "reference" in json.loads(refusal)["reason"]
        reference.check(wire.read_response(infer(server, reference)), 1e-5)
        assert pipeline.is_running() and server.serving(NAME)

        everything = [psutil.Process(server.pid), *server.pipelines()]
        server.process.terminate()
        assert server.process.wait(20) == 0
        assert not [one for one in everything if one.is_running()], "an orphan"
        with socket.create_server(("127.0.0.1", server.ports[NAME])):
            pass


def test_a_new_release_goes_through_all_five_services_unnoticed(
    paddle_serving: Gateway, trained_shop: Shop, tmp_path: Path
) -> None:
    """recall and rank move when Paddle Serving has moved: no answer is degraded."""
    first = str(trained_shop.store.active())
    with running("compact", by_paddle_serving(trained_shop, paddle_serving) | PATIENT) as compact:
        until_whole(compact.target("as"), compact, trained_shop.user_ids[0])
        put_copy(trained_shop.store, tmp_path, "third")
        with load(compact.target("as"), trained_shop) as answers:
            trained_shop.ingest("--release", "third", "--only", "milvus")
            wait_until(lambda: answers[-1].release == "third", compact, "the switch")
            trained_shop.store.activate(first)
            wait_until(lambda: answers[-1].release == first, compact, "the way back")

    assert {answer.release for answer in answers} == {first, "third"}
    assert not [answer for answer in answers if answer.degraded or answer.error.code != 200]
