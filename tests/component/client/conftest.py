"""A mesh in memory: the five methods of the contract on one loopback port, with faults on demand."""

import socket
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc
import pytest

from recmesh.client import AS, CM, RANK, RECALL, UM, Method, Targets
from recmesh.pb import as_pb2, cm_pb2, item_info_pb2, rank_pb2, recall_pb2, um_pb2, user_info_pb2
from tests.component.client.live import LiveMesh, running_live_mesh

METHODS: tuple[Method[Any, Any], ...] = (UM, CM, RECALL, RANK, AS)


class LoopbackMesh:
    """Knows users "1" to "9" and items "a" to "j"; `as` recommends all items to everyone.

    Attributes:
        faults: For each service, the status codes that the next calls get instead of an answer; None means an answer.
        requests: For each service, the requests that have arrived; `calls` counts them.
        gate: Answers wait until it is set.
        hold_from: For each service, the number of calls after which the gate closes.
        arrived: Notified at each call.
    """

    def __init__(self, credentials: grpc.ServerCredentials | None = None) -> None:
        self._credentials = credentials
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.users = {str(k) for k in range(1, 10)}
        self.items = list("abcdefghij")
        self.degraded: dict[str, list[str]] = {}
        self.faults: defaultdict[str, deque[grpc.StatusCode | None]] = defaultdict(deque)
        self.requests: defaultdict[str, list[Any]] = defaultdict(list)
        self.calls: Counter[str] = Counter()
        self.gate = threading.Event()
        self.gate.set()
        self.hold_from: dict[str, int] = {}
        self.arrived = threading.Condition()
        self._server: grpc.Server | None = None

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def targets(self) -> Targets:
        return Targets({method.service: self.target for method in METHODS})

    def start(self) -> None:
        self._server = grpc.server(futures.ThreadPoolExecutor(32), options=[("grpc.so_reuseport", 0)])
        answers: tuple[Callable[[Any], Any], ...] = (self._um, self._cm, self._recall, self._rank, self._as)
        for method, answer in zip(METHODS, answers, strict=True):
            service, name = method.path[1:].split("/")
            handler = grpc.unary_unary_rpc_method_handler(
                self._answering(method.service, answer),
                request_deserializer=method.request.FromString,
                response_serializer=method.response.SerializeToString,
            )
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {name: handler}),))
        if self._credentials is None:
            self._server.add_insecure_port(self.target)
        else:
            self._server.add_secure_port(self.target, self._credentials)
        self._server.start()

    def kill(self) -> None:
        """Drop every connection at once."""
        if self._server is not None:
            self._server.stop(None).wait()

    def wait_for(self, service: str, count: int) -> None:
        """Wait until `count` calls of a service have arrived."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: self.calls[service] >= count, timeout=60)

    def _answering(self, service: str, answer: Callable[[Any], Any]) -> Callable[[Any, grpc.ServicerContext], Any]:
        def handle(request: Any, context: grpc.ServicerContext) -> Any:
            with self.arrived:
                self.requests[service].append(request)
                self.calls[service] += 1
                if self.calls[service] == self.hold_from.get(service):
                    self.gate.clear()
                self.arrived.notify_all()
                fault = self.faults[service].popleft() if self.faults[service] else None
            if fault is not None:
                context.abort(fault, "made up")
            self.gate.wait(60)
            return answer(request)

        return handle

    def _um(self, request: um_pb2.UserModelRequest) -> um_pb2.UserModelResponse:
        if request.user_id not in self.users:
            text = f'UM server get user_info from redis fail. (user_id: "{request.user_id}"\n)'
            return um_pb2.UserModelResponse(error=um_pb2.UserModelResponse.Error(code=500, text=text))
        return um_pb2.UserModelResponse(
            error=um_pb2.UserModelResponse.Error(code=200),
            user_info=user_info_pb2.UserInfo(user_id=request.user_id, age="5.0", city="7", attributes={"job": "cook"}),
            history=user_info_pb2.History(
                sku_ids=["b", "a"],
                times=[2_000, 1_000],
                types=[0, 1],
                values=[1, 2.5],
                type_names=["view", "order"],
                older_sku_ids=["z"],
            ),
        )

    def _cm(self, request: cm_pb2.CMRequest) -> cm_pb2.CMResponse:
        found = [
            item_info_pb2.ItemInfo(sku_id=k, brand="x", attributes={"price": "3"})
            for k in request.item_ids
            if k in self.items
        ]
        return cm_pb2.CMResponse(
            error=cm_pb2.CMResponse.Error(
                code=200 if found else 500, text="" if found else "CM server get item_info from redis fail."
            ),
            item_infos=found,
            missing_ids=[k for k in request.item_ids if k not in self.items],
        )

    def _recall(self, request: recall_pb2.RecallRequest) -> recall_pb2.RecallResponse:
        pairs = [recall_pb2.RecallResponse.ScorePair(nid=k, score=1 / (1 + n)) for n, k in enumerate(self.items[:3])]
        return recall_pb2.RecallResponse(
            error=recall_pb2.RecallResponse.Error(code=200),
            score_pairs=pairs,
            release="r1",
            channels=[recall_pb2.RecallResponse.Channel(name="popular", positions=[0, 2], scores=[9, 7])],
        )

    def _rank(self, request: rank_pb2.RankRequest) -> rank_pb2.RankResponse:
        ids = [k for k in request.item_ids if k != "unknown"] + [item.sku_id for item in request.item_infos]
        score = 0.5 if request.user_info.attributes or request.user_info.age else 0.25
        pairs = [rank_pb2.RankResponse.ScorePair(nid=k, score=score + len(k) / 1024) for k in reversed(ids)]
        return rank_pb2.RankResponse(error=rank_pb2.RankResponse.Error(code=200), score_pairs=pairs, release="r1")

    def _as(self, request: as_pb2.ASRequest) -> as_pb2.ASResponse:
        items = [k for k in self.items if k not in request.exclude_ids][: request.size or 50]
        return as_pb2.ASResponse(
            error=as_pb2.ASResponse.Error(code=200),
            item_infos=[
                item_info_pb2.ItemInfo(sku_id=k, cate="c", rank_score=1 / (1 + n)) for n, k in enumerate(items)
            ],
            release="r1",
            degraded=self.degraded.get(request.user_id, []),
        )


@pytest.fixture
def loopback() -> Iterator[LoopbackMesh]:
    mesh = LoopbackMesh()
    mesh.start()
    yield mesh
    mesh.gate.set()
    mesh.kill()


@pytest.fixture
def environment(loopback: LoopbackMesh, monkeypatch: pytest.MonkeyPatch) -> LoopbackMesh:
    """The mesh, as the one that commands find."""
    for method in METHODS:
        monkeypatch.setenv(f"RECMESH_{method.service.upper()}_TARGET", loopback.target)
    return loopback


@pytest.fixture(scope="session")
def live() -> Iterator[LiveMesh]:
    with running_live_mesh() as mesh:
        yield mesh


@pytest.fixture
def own_live() -> Iterator[LiveMesh]:
    """A live mesh that a test may break or keep busy."""
    with running_live_mesh() as mesh:
        yield mesh


@pytest.fixture
def live_environment(live: LiveMesh, monkeypatch: pytest.MonkeyPatch) -> LiveMesh:
    """The live mesh, as the one that commands find."""
    for service, target in live.targets.by_service.items():
        monkeypatch.setenv(f"RECMESH_{service.upper()}_TARGET", target)
    return live
