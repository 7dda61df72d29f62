"""The chain while a process is killed, frozen or overloaded: answers stay in time and name what is missing."""

import contextlib
import itertools
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.relay import LinkFault, Relay
from recmesh.contract import DEFAULT_RECOMMENDATIONS, FAILED, MAX_RANKED_ITEMS, OK
from recmesh.pb.as_pb2 import ASResponse
from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.pb.rank_pb2 import RankRequest
from recmesh.pb.recall_pb2 import RecallRequest, RecallResponse
from recmesh.pb.user_info_pb2 import UserInfo
from tests.calls import RANK, RECALL
from tests.mesh.conftest import ask_as, ids
from tests.processes import Service, running, start_service
from tests.scripted_milvus import scripted_milvus
from tests.servers import Server, wait_until
from tests.shop import Shop, running_apart

STAGES = ("um", "recall", "rank", "cm")
WITHOUT_MILVUS = {"recall", "recall:two_tower"}
RANK_REQUESTS = 60


def degraded(answer: ASResponse) -> set[str]:
    return set(answer.degraded)


def all_complete(answers: list[ASResponse]) -> bool:
    """Whether every answer succeeded and has the default length. Answers may be degraded."""
    return all(answer.error.code == OK and len(answer.item_infos) == DEFAULT_RECOMMENDATIONS for answer in answers)


def wait_until_not_degraded(target: str, server: Server, user_id: str) -> None:
    wait_until(lambda: not degraded(ask_as(target, user_id)), server, "the mesh", seconds=30)


@pytest.mark.parametrize("stage", STAGES)
def test_a_frozen_stage_is_replaced_until_it_recovers(
    apart: dict[str, Service], trained_shop: Shop, stage: str
) -> None:
    target, user_id = apart["as"].target("as"), trained_shop.user_ids[0]
    wait_until_not_degraded(target, apart["as"], user_id)
    before = ask_as(target, user_id)
    apart[stage].signal_group(signal.SIGSTOP)
    try:
        answer = ask_as(target, user_id, timeout=5)
    finally:
        apart[stage].signal_group(signal.SIGCONT)

    assert answer.error.code == OK
    assert len(set(ids(answer))) == DEFAULT_RECOMMENDATIONS
    assert degraded(answer) == {stage}
    wait_until_not_degraded(target, apart["as"], user_id)
    assert ask_as(target, user_id) == before


def test_a_killed_stage_is_replaced_until_it_is_restarted(trained_shop: Shop) -> None:
    """Each process is killed in turn under a light load: no answer fails."""
    user_id = trained_shop.user_ids[0]
    with running_apart(trained_shop) as services:
        target = services["as"].target("as")
        wait_until_not_degraded(target, services["as"], user_id)
        for stage in STAGES:
            with load(target, trained_shop) as answers:
                services[stage].kill()
                wait_until(lambda: stage in degraded(ask_as(target, user_id)), services["as"], stage)  # noqa: B023
                restarted = start_service(stage, trained_shop.folder, trained_shop.environment, services[stage].ports)
                services[stage].process = restarted.process
                wait_until_not_degraded(target, services["as"], user_id)
            assert all_complete(answers)
            assert any(stage in degraded(answer) for answer in answers)


@contextlib.contextmanager
def load(target: str, shop: Shop) -> Iterator[list[ASResponse]]:
    """Call `as` from two threads for the duration of the block, which fails if a call does."""
    answers: list[ASResponse] = []
    stop = threading.Event()

    def call_repeatedly(user_ids: Sequence[str]) -> None:
        for user_id in itertools.cycle(user_ids):
            if stop.is_set():
                return
            answers.append(ask_as(target, user_id))

    with ThreadPoolExecutor(2) as threads:
        callers = [threads.submit(call_repeatedly, shop.user_ids[first:100:2]) for first in range(2)]
        try:
            yield answers
        finally:
            stop.set()
        for caller in callers:
            caller.result()


@pytest.fixture
def compact_behind_relay(trained_shop: Shop) -> Iterator[tuple[Service, Relay]]:
    """compact, which connects to Milvus through a relay."""
    with Relay(trained_shop.milvus.port) as relay:
        settings = {**trained_shop.environment, "RECMESH_MILVUS_URI": f"http://127.0.0.1:{relay.port}"}
        with running("compact", settings) as service:
            yield service, relay


def test_without_milvus_the_other_channels_answer(
    compact_behind_relay: tuple[Service, Relay], trained_shop: Shop
) -> None:
    """Milvus becomes unreachable under load and returns: no answer fails."""
    service, relay = compact_behind_relay
    target, user_id = service.target("as"), trained_shop.user_ids[0]
    wait_until_not_degraded(target, service, user_id)
    before = ask_as(target, user_id)
    with load(target, trained_shop) as answers:
        relay.set(LinkFault.CUT)
        wait_until(lambda: bool(degraded(ask_as(target, user_id))), service, "compact")
        answer = ask_as(target, user_id)
        two_tower = recall_two_tower(service)
        relay.set(None)
        wait_until_not_degraded(target, service, user_id)

    assert degraded(answer) == WITHOUT_MILVUS
    assert two_tower.error.code == FAILED
    assert two_tower.error.text.startswith('Recall server get milvus fail. (user_info {\n  user_id: "7"')
    assert all_complete(answers)
    assert ask_as(target, user_id) == before
    assert service.process.poll() is None


def test_recall_serves_once_milvus_has_loaded_the_collection_and_from_then_on(trained_shop: Shop) -> None:
    """The health status does not change if Milvus loses the collection later: the other channels answer."""
    with scripted_milvus() as milvus:
        settings = {**trained_shop.environment, "RECMESH_MILVUS_URI": milvus.uri}
        with running("recall", settings, ready=False) as service:
            wait_until(lambda: "search failed: collection not loaded" in service.log.read_text(), service, "recall")
            assert not service.serving("recall")
            milvus.failure = ""
            wait_until(lambda: service.serving("recall"), service, "recall")
            milvus.failure = "collection not loaded"
            assert recall_two_tower(service).error.code == FAILED
            every_channel = RecallRequest(user_info=UserInfo(user_id="7"))
            assert RECALL.call(service.target("recall"), every_channel).degraded == ["two_tower"]
            assert service.serving("recall")
            assert '"not serving"' not in service.log.read_text().rpartition('"serving"')[2]


def recall_two_tower(service: Service) -> RecallResponse:
    request = RecallRequest(user_info=UserInfo(user_id="7"), recall_type="two_tower", exclude_ids=["1"])
    return RECALL.call(service.target("recall"), request)


def test_with_a_frozen_milvus_the_other_channels_answer_in_time(compact: Service, trained_shop: Shop) -> None:
    """Milvus hangs under load, and continues: no answer fails."""
    target, user_id = compact.target("as"), trained_shop.user_ids[0]
    wait_until_not_degraded(target, compact, user_id)
    with load(target, trained_shop) as answers:
        trained_shop.milvus.signal_group(signal.SIGSTOP)
        try:
            answer = ask_as(target, user_id, timeout=5)
        finally:
            trained_shop.milvus.signal_group(signal.SIGCONT)
        wait_until_not_degraded(target, compact, user_id)

    assert degraded(answer) == WITHOUT_MILVUS
    assert all_complete(answers)


def test_health_answers_while_rank_is_overloaded(apart: dict[str, Service]) -> None:
    """Probes with the chart's timeout of one second succeed while requests of the largest size queue up."""
    items = [
        ItemInfo(sku_id=f"n{n}", brand=str(n % 50), shopid="32", cate=str(n % 10)) for n in range(MAX_RANKED_ITEMS)
    ]
    request = RankRequest(user_info=UserInfo(age="3.0"), item_infos=items)
    rank = apart["rank"]
    with (
        grpc.insecure_channel(rank.target("rank")) as channel,
        grpc.insecure_channel(rank.target("rank"), options=[("grpc.use_local_subchannel_pool", 1)]) as probes,
    ):
        calls = [RANK.on(channel).future(request, timeout=120) for _ in range(RANK_REQUESTS)]
        health = health_pb2_grpc.HealthStub(probes)
        probed = 0
        while not all(call.done() for call in calls):
            answer = health.Check(health_pb2.HealthCheckRequest(), timeout=1)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
            probed += 1
        assert all(len(call.result().score_pairs) == MAX_RANKED_ITEMS for call in calls)

    assert probed > 10
    assert "recmesh_event_loop_lag_seconds" in rank.metrics()
