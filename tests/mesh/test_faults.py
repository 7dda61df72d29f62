"""The chain while something is away, frozen or saturated: an answer within the deadline that says what is missing."""

import contextlib
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from recmesh.pb.as_pb2 import ASResponse
from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.pb.rank_pb2 import RankRequest
from recmesh.pb.rank_pb2_grpc import RankServiceStub
from recmesh.pb.recall_pb2 import RecallRequest, RecallResponse
from recmesh.pb.recall_pb2_grpc import RecallServiceStub
from recmesh.pb.user_info_pb2 import UserInfo
from tests.mesh.conftest import ask_as, ids
from tests.processes import Service, running, start_service
from tests.servers import Server, wait_until
from tests.shop import Shop, running_apart

PARTS = {
    "um": {"um"},
    "recall": {"recall"},
    "rank": {"rank"},
    "cm": {"cm"},
}
FULL = 50


def degraded(answer: ASResponse) -> set[str]:
    return set(answer.degraded)


def until_whole(target: str, server: Server, user_id: str) -> None:
    """Wait until an answer comes with nothing missing."""
    wait_until(lambda: not degraded(ask_as(target, user_id=user_id)), server, "the mesh", seconds=30)


@pytest.mark.parametrize("stage", PARTS)
def test_a_frozen_stage_is_replaced_and_comes_back(apart: dict[str, Service], trained_shop: Shop, stage: str) -> None:
    target, user_id = apart["as"].target("as"), trained_shop.user_ids[0]
    until_whole(target, apart["as"], user_id)
    whole = ask_as(target, user_id=user_id)
    apart[stage].signal_group(signal.SIGSTOP)
    try:
        answer = ask_as(target, timeout=5, user_id=user_id)
    finally:
        apart[stage].signal_group(signal.SIGCONT)

    assert answer.error.code == 200
    assert len(set(ids(answer))) == FULL
    assert degraded(answer) == PARTS[stage]
    until_whole(target, apart["as"], user_id)
    assert ask_as(target, user_id=user_id) == whole


def test_a_killed_stage_is_replaced_and_comes_back(trained_shop: Shop) -> None:
    """Each process in turn, under a light load: no failed answer."""
    user_id = trained_shop.user_ids[0]
    with running_apart(trained_shop) as services:
        target = services["as"].target("as")
        until_whole(target, services["as"], user_id)
        for stage, named in PARTS.items():
            with load(target, trained_shop) as answers:
                services[stage].kill()
                wait_until(
                    lambda named=named: named <= degraded(ask_as(target, user_id=user_id)), services["as"], stage
                )
                again = start_service(stage, trained_shop.folder, trained_shop.environment, services[stage].ports)
                services[stage].process = again.process
                until_whole(target, services["as"], user_id)
            assert all(answer.error.code == 200 and len(answer.item_infos) == FULL for answer in answers)
            assert named <= set().union(*map(degraded, answers))


@contextlib.contextmanager
def load(target: str, shop: Shop) -> Iterator[list[ASResponse]]:
    """Ask from two threads while the block runs; a failed call fails the block."""
    answers: list[ASResponse] = []
    stop = threading.Event()

    def ask_on(first: int) -> None:
        number = first
        while not stop.is_set():
            answers.append(ask_as(target, user_id=shop.user_ids[number % 100]))
            number += 2

    with ThreadPoolExecutor(2) as threads:
        running = [threads.submit(ask_on, first) for first in range(2)]
        try:
            yield answers
        finally:
            stop.set()
        for one in running:
            one.result()


class Gate:
    """A port before a server that can be shut: connections break, and new ones are refused."""

    def __init__(self, port: int) -> None:
        self._behind = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._accept()

    def shut(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in self._open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def open(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._accept()

    def _accept(self) -> None:
        listener = self._listener

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    near, _ = listener.accept()
                    far = socket.create_connection(("127.0.0.1", self._behind))
                    self._open += [near, far]
                    for source, sink in ((near, far), (far, near)):
                        threading.Thread(target=_pump, args=(source, sink), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(65536):
            sink.sendall(piece)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def behind_gate(trained_shop: Shop) -> Iterator[tuple[Service, Gate]]:
    """A compact process that reaches Milvus through a gate."""
    gate = Gate(trained_shop.milvus.port)
    settings = {**trained_shop.environment, "RECMESH_MILVUS_URI": f"http://127.0.0.1:{gate.port}"}
    with running("compact", settings) as service:
        yield service, gate


def test_without_milvus_the_other_channels_answer(behind_gate: tuple[Service, Gate], trained_shop: Shop) -> None:
    """C28: Milvus stopped under load."""
    service, gate = behind_gate
    target, user_id = service.target("as"), trained_shop.user_ids[0]
    until_whole(target, service, user_id)
    whole = ask_as(target, user_id=user_id)
    with load(target, trained_shop) as answers:
        gate.shut()
        wait_until(lambda: bool(degraded(ask_as(target, user_id=user_id))), service, "compact")
        answer = ask_as(target, user_id=user_id)
        alone = recall_two_tower(service)
        gate.open()
        until_whole(target, service, user_id)

    assert degraded(answer) == {"recall", "recall:two_tower"}
    assert alone.error.code == 500
    assert alone.error.text.startswith('Recall server get milvus fail. (user_info {\n  user_id: "7"')
    assert all(len(answer.item_infos) == FULL for answer in answers)
    assert ask_as(target, user_id=user_id) == whole
    assert service.process.poll() is None


def recall_two_tower(service: Service) -> RecallResponse:
    request = RecallRequest(user_info=UserInfo(user_id="7"), recall_type="two_tower", exclude_ids=["1"])
    with grpc.insecure_channel(service.target("recall")) as channel:
        return RecallServiceStub(channel).recall(request, timeout=10)


def test_with_a_frozen_milvus_the_other_channels_answer_in_time(compact: Service, trained_shop: Shop) -> None:
    """C28: Milvus frozen under load."""
    target, user_id = compact.target("as"), trained_shop.user_ids[0]
    until_whole(target, compact, user_id)
    with load(target, trained_shop) as answers:
        trained_shop.milvus.signal_group(signal.SIGSTOP)
        try:
            answer = ask_as(target, timeout=5, user_id=user_id)
        finally:
            trained_shop.milvus.signal_group(signal.SIGCONT)
        until_whole(target, compact, user_id)

    assert degraded(answer) == {"recall", "recall:two_tower"}
    assert all(len(answer.item_infos) == FULL for answer in answers)


def test_health_answers_while_rank_is_saturated(apart: dict[str, Service]) -> None:
    """C30: probes as the chart makes them, with a timeout of a second, while the largest requests queue up."""
    items = [ItemInfo(sku_id=f"n{n}", brand=str(n % 50), shopid="32", cate=str(n % 10)) for n in range(2000)]
    request = RankRequest(user_info=UserInfo(age="3.0"), item_infos=items)
    rank = apart["rank"]
    with (
        grpc.insecure_channel(rank.target("rank")) as channel,
        grpc.insecure_channel(rank.target("rank"), options=[("grpc.use_local_subchannel_pool", 1)]) as probes,
    ):
        call = RankServiceStub(channel).rank_predict.future
        waiting = [call(request, timeout=120) for _ in range(60)]
        health = health_pb2_grpc.HealthStub(probes)
        probed = 0
        while not all(one.done() for one in waiting):
            answer = health.Check(health_pb2.HealthCheckRequest(), timeout=1)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
            probed += 1
        assert all(len(one.result().score_pairs) == 2000 for one in waiting)

    assert probed > 10
    assert "recmesh_event_loop_lag_seconds" in rank.metrics()
