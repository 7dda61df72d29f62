import os

import grpc
import pytest
import uvloop

from benchmarks import hop, load, processes, stages
from benchmarks.load import Job
from recmesh.client import AS, UM
from recmesh.pb import as_pb2, um_pb2
from tests.component.client.conftest import LoopbackMesh


@pytest.fixture
def job(loopback: LoopbackMesh) -> Job:
    payloads = [as_pb2.ASRequest(user_id=str(k), size=3).SerializeToString() for k in range(5)]
    expected = load.ask_serially(loopback.target, AS, payloads)
    return Job(loopback.target, AS, payloads, expected, concurrency=4, seconds=0.2, pids={"us": os.getpid()})


def test_a_load_counts_its_requests_and_their_cost(loopback: LoopbackMesh, job: Job) -> None:
    before = loopback.calls["as"]
    found = load.run(job)
    warm_up = job.concurrency
    assert found.requests == loopback.calls["as"] - before - warm_up
    assert (found.wrong, found.failed, found.first_wrong) == (0, {}, "")
    assert 0 < found.p50 <= found.p99
    assert found.cpu_ms["us"] > 0
    assert found.memory["us"] > 1 << 20


def test_an_answer_that_differs_from_the_serial_one_is_found(loopback: LoopbackMesh, job: Job) -> None:
    loopback.items[0] = "other"
    found = load.run(job)
    assert found.wrong == found.requests
    assert "item_infos[0].sku_id: 'a' and 'other'" in found.first_wrong


def test_failures_are_counted_by_status(loopback: LoopbackMesh, job: Job) -> None:
    # The warm-up takes the first answers and is not counted.
    loopback.faults["as"].extend([None] * job.concurrency + [grpc.StatusCode.INTERNAL] * 2)
    assert load.run(job).failed == {"INTERNAL": 2}


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({}, ""),
        ({"rank_score": 0.5 + 4e-6}, ""),
        ({"rank_score": 0.5001}, "item_infos[0].rank_score"),
        ({"cate": "x"}, "item_infos[0].cate"),
        ({"attributes": {"a": "2"}}, "item_infos[0].attributes"),
    ],
)
def test_only_scores_may_differ_and_only_by_rounding(change: dict[str, object], differs: str) -> None:
    item = {"sku_id": "1", "cate": "c", "rank_score": 0.5, "attributes": {"a": "1"}}
    left, right = as_pb2.ASResponse(item_infos=[item]), as_pb2.ASResponse(item_infos=[{**item, **change}])
    assert load.difference(left, right).startswith(differs)
    assert bool(load.difference(left, right)) == bool(differs)
    assert load.difference(left, as_pb2.ASResponse()) == "item_infos: 1 and 0 entries"


def test_the_empty_hop_answers_from_a_process_of_its_own() -> None:
    async def ask() -> tuple[int, bytes]:
        async with hop.running() as (target, pid), grpc.aio.insecure_channel(target) as channel:
            call: load.Call = channel.unary_unary(hop.PATH)
            return pid, await call(b"x")

    pid, answer = uvloop.run(ask())
    assert pid != os.getpid()
    assert answer == b"x"


def test_processes_are_found_by_their_ports(loopback: LoopbackMesh) -> None:
    found = processes.find(loopback.targets, "redis://127.0.0.1:1/0", "local.db", "127.0.0.1:1")
    assert found == {"compact": os.getpid()}
    apart = processes.find(
        loopback.targets.having("um", "127.0.0.1:1"), "redis://127.0.0.1:1/0", "local.db", "127.0.0.1:1"
    )
    assert set(apart) == {"cm", "recall", "rank", "as"}


def test_stage_times_are_those_between_two_scrapes(loopback: LoopbackMesh) -> None:
    assert stages.scrape(loopback.targets) == {}
    assert stages.means({"um": (1.0, 10)}, {"um": (1.5, 20), "rank": (0.2, 100), "cm": (0.0, 0)}) == {
        "um": pytest.approx(50.0),
        "rank": pytest.approx(2.0),
    }


def test_requests_are_sent_as_the_client_sends_them(loopback: LoopbackMesh) -> None:
    payload = um_pb2.UserModelRequest(user_id="1").SerializeToString()
    (answer,) = load.ask_serially(loopback.target, UM, [payload])
    assert um_pb2.UserModelResponse.FromString(answer).user_info.user_id == "1"
