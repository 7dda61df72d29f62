"""Paddle Serving loses processes, switches to new releases, and stops; no caller gets a failed answer."""

import json
import shutil
import signal
import socket
import tempfile
from pathlib import Path

import numpy as np
import psutil
import pytest
from grpc_health.v1 import health_pb2

from recmesh.contract import OK
from recmesh.pb.as_pb2 import ASResponse
from recmesh.pb.pipeline_service_pb2 import Response
from recmesh.releases import ModelStore, ReferenceRequest, read_manifest, write_manifest
from services.rank.paddle_serving import wire
from tests.mesh.conftest import ask_as
from tests.mesh.test_faults import all_complete, degraded, load, wait_until_not_degraded
from tests.paddle_serving.conftest import INFERENCE, LONG_TIMEOUT, NAME, Gateway, gateway, with_paddle_serving
from tests.processes import Service, health_of, running
from tests.servers import wait_until
from tests.shop import Shop

WITHOUT_PADDLE_SERVING = {"rank", "rank:paddle-serving"}
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def infer(server: Gateway, reference: ReferenceRequest, release: str = "") -> Response:
    return INFERENCE.call(server.address, wire.make_request(release, reference.inputs))


def wait_until_degraded(service: Service, user_id: str) -> None:
    wait_until(lambda: degraded(ask_as(service.target("as"), user_id)) == WITHOUT_PADDLE_SERVING, service, "the fault")


def check_answers(answers: list[ASResponse]) -> None:
    """No answer failed, and some were made without Paddle Serving, but with everything else."""
    assert all_complete(answers)
    assert set().union(*map(degraded, answers)) == WITHOUT_PADDLE_SERVING


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_pipeline_that_dies_or_hangs_is_restarted(
    paddle_serving: Gateway, remote_compact: Service, trained_shop: Shop, number: signal.Signals
) -> None:
    target, user_id = remote_compact.target("as"), trained_shop.user_ids[0]
    wait_until_not_degraded(target, remote_compact, user_id)
    before = ask_as(target, user_id)
    (victim,) = paddle_serving.pipelines()
    with load(target, trained_shop) as answers:
        victim.send_signal(number)
        wait_until_degraded(remote_compact, user_id)
        if number == signal.SIGSTOP:  # A dead pipeline is restarted before the health check has failed twice.
            wait_until(lambda: health_of(paddle_serving.address) == NOT_SERVING, paddle_serving, "NOT_SERVING", 20)
        wait_until_not_degraded(target, remote_compact, user_id)

    check_answers(answers)
    assert not victim.is_running()
    assert ask_as(target, user_id) == before
    wait_until(lambda: paddle_serving.serving(NAME), paddle_serving, "Paddle Serving", seconds=20)


def test_the_pipelines_of_a_killed_gateway_end_and_a_new_gateway_takes_over(trained_shop: Shop) -> None:
    user_id = trained_shop.user_ids[0]
    with (
        gateway(trained_shop.environment) as first,
        running("compact", with_paddle_serving(trained_shop, first)) as service,
    ):
        target = service.target("as")
        wait_until_not_degraded(target, service, user_id)
        pipelines = first.pipelines()
        with load(target, trained_shop) as answers:
            first.process.kill()
            first.process.wait()
            wait_until_degraded(service, user_id)
            psutil.wait_procs(pipelines, timeout=5)
            assert not [pipeline for pipeline in pipelines if pipeline.is_running()], "a pipeline is still running"
            assert folders_of(first)
            with gateway(trained_shop.environment, first.ports):
                wait_until_not_degraded(target, service, user_id)
                assert not folders_of(first), "stale files"
    check_answers(answers)


def folders_of(server: Gateway) -> list[Path]:
    """The folders with the files of a gateway's pipelines."""
    return list(Path(tempfile.gettempdir()).glob(f"recmesh-ps-{server.pid}-*"))


def test_it_listens_on_its_two_ports_only(paddle_serving: Gateway) -> None:
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
    """A model store with the shop's active release, to which tests may add others."""
    store = ModelStore(str(tmp_path / "store"))
    first = str(trained_shop.store.active())
    store.put(trained_shop.store.fetch(first, tmp_path / "fetched"))
    store.activate(first, ())
    return store


def put_copy(store: ModelStore, folder: Path, release: str, *, falsified: bool = False) -> None:
    """Put a copy of the active release into the store, with another id.

    If `falsified` is set, its reference request expects other scores.
    """
    shutil.copytree(store.fetch(str(store.active()), folder / "again"), folder / release)
    if falsified:
        reference = ReferenceRequest.load(folder / release)
        ReferenceRequest(
            reference.inputs, {name: scores + np.float32(1) for name, scores in reference.outputs.items()}
        ).save(folder / release)
    write_manifest(folder / release, read_manifest(folder / release).model_copy(update={"id": release}))
    store.put(folder / release)


def test_there_is_no_gap_between_releases_and_no_process_is_left_at_the_end(
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
        wait_until(
            lambda: infer(server, reference, first).err_no == wire.NO_SERVICE, server, "the end of the first release"
        )
        wait_until(lambda: len(server.pipelines()) == 1, server, "the end of its pipeline")
        (pipeline,) = server.pipelines()

        put_copy(own_store, tmp_path, "falsified", falsified=True)
        own_store.activate("falsified", ())
        wait_until(lambda: "release not loaded" in server.log.read_text(), server, "the refusal")
        refusal = next(line for line in server.log.read_text().splitlines() if "release not loaded" in line)
        assert "reference" in json.loads(refusal)["reason"]
        reference.check(wire.read_response(infer(server, reference)), 1e-5)
        assert pipeline.is_running() and server.serving(NAME)

        processes = [psutil.Process(server.pid), *server.pipelines()]
        server.process.terminate()
        assert server.process.wait(20) == 0
        assert not [process for process in processes if process.is_running()], "a process is still running"
        with socket.create_server(("127.0.0.1", server.ports[NAME])):
            pass


def test_no_answer_is_degraded_while_all_services_switch_to_a_new_release(
    paddle_serving: Gateway, trained_shop: Shop, tmp_path: Path
) -> None:
    """recall and rank switch once Paddle Serving has switched."""
    first = str(trained_shop.store.active())
    with running("compact", with_paddle_serving(trained_shop, paddle_serving) | LONG_TIMEOUT) as compact:
        wait_until_not_degraded(compact.target("as"), compact, trained_shop.user_ids[0])
        put_copy(trained_shop.store, tmp_path, "third")
        with load(compact.target("as"), trained_shop) as answers:
            trained_shop.ingest("--release", "third", "--only", "milvus")
            wait_until(lambda: answers[-1].release == "third", compact, "the switch")
            trained_shop.store.activate(first)
            wait_until(lambda: answers[-1].release == first, compact, "the switch back")

    assert {answer.release for answer in answers} == {first, "third"}
    assert not [answer for answer in answers if answer.degraded or answer.error.code != OK]
