"""One request is one trace: the whole tree of its spans, with the calls to Redis, Milvus and ONNX Runtime."""

import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from recmesh.pb.as_pb2 import ASRequest
from tests.calls import AS
from tests.mesh.test_faults import wait_until_not_degraded
from tests.otlp import ReceivedSpan, Receiver, Tree, grpc_receiver, tree
from tests.processes import Service, running
from tests.servers import wait_until
from tests.shop import Shop, running_apart

AS_CALL, UM_CALL, RECALL_CALL = "as.ASService/as_call", "um.UMService/um_call", "recall.RecallService/recall"
RANK_CALL, CM_CALL = "RankService/rank_predict", "cm.CMService/cm_call"
TRACE_ID, CALLER = "12" * 16, "34" * 8
SAMPLED = (("traceparent", f"00-{TRACE_ID}-{CALLER}-01"),)


def settings(receiver: Receiver, **more: str) -> dict[str, str]:
    """Services that sample nothing themselves and keep nothing else."""
    return {
        "RECMESH_OTLP_ENDPOINT": receiver.endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        "RECMESH_TRACE_RATIO": "0",
        "RECMESH_TRACE_SLOW": "3600",
        **more,
    }


@pytest.fixture(scope="module")
def collection(trained_shop: Shop) -> str:
    """The collection of the shop's release."""
    return trained_shop.store.manifest(str(trained_shop.store.active())).collection


@contextmanager
def traced_compact(shop: Shop, receiver: Receiver, **more: str) -> Iterator[Service]:
    with running("compact", {**shop.environment, **settings(receiver, **more)}) as service:
        wait_until_not_degraded(service.target("as"), service, shop.user_ids[0])
        yield service


def ask(service: Service, user_id: str, timeout: float = 30, *, sampled: bool = True) -> None:
    AS.call(service.target("as"), ASRequest(user_id=user_id), timeout, SAMPLED if sampled else ())


def wait_for(receiver: Receiver, service: Service, spans: int) -> None:
    wait_until(lambda: len(receiver.trace(TRACE_ID)) >= spans, service, "the spans")


def stages(collection: str) -> dict[str, list[Tree]]:
    """What each stage does for a request of a stored user in a process of its own."""
    search: Tree = ("two_tower", [(f"search {collection}", [])])
    return {
        "um": [("MGET", [])],
        "recall": [("run user_tower", []), search],
        "rank": [("run ranker", []), ("run user_tower", [])],
        "cm": [("MGET", [])],
    }


def test_the_trace_of_a_request_to_one_process(trained_shop: Shop, collection: str) -> None:
    with grpc_receiver() as receiver, traced_compact(trained_shop, receiver) as service:
        ask(service, trained_shop.user_ids[0])
        wait_for(receiver, service, 11)

    expected = stages(collection)
    expected["rank"].pop()  # One process encodes a user once.
    children = sorted((stage, parts) for stage, parts in expected.items())
    spans = receiver.trace(TRACE_ID)
    assert tree(spans, CALLER) == [(AS_CALL, children)]
    assert {span.resource["service.name"] for span in spans} == {"compact"}

    (request,) = (span for span in spans if span.kind == "server")
    (recall,) = (span for span in spans if span.name == "recall")
    (search,) = (span for span in spans if span.name == f"search {collection}")
    (ranker,) = (span for span in spans if span.name == "run ranker")
    release = trained_shop.store.active()
    assert (request.attributes["recmesh.release"], request.attributes["recmesh.items"]) == (release, 50)
    assert recall.attributes["recmesh.release"] == release
    assert recall.attributes["recmesh.segment"] in ("cold", "novel", "repeat")
    assert search.attributes == {
        "db.system.name": "milvus",
        "db.operation.name": "search",
        "db.collection.name": collection,
        "recmesh.queries": 1,
        "server.address": "127.0.0.1",
        "server.port": trained_shop.milvus.port,
    }
    assert ranker.attributes == {
        "recmesh.model": "ranker",
        "recmesh.runtime": "onnxruntime",
        "recmesh.rows": recall.attributes["recmesh.candidates"],
    }


def test_the_times_of_exported_requests_lead_to_their_traces(trained_shop: Shop) -> None:
    with grpc_receiver() as receiver, traced_compact(trained_shop, receiver) as service:
        ask(service, trained_shop.user_ids[0], sampled=False)
        ask(service, trained_shop.user_ids[0])
        url = f"http://127.0.0.1:{service.ports['metrics']}/metrics"
        scrape = urllib.request.Request(url, headers={"Accept": "application/openmetrics-text"})
        with urllib.request.urlopen(scrape, timeout=5) as answer:
            lines = answer.read().decode().splitlines()
    exemplars = [line for line in lines if "trace_id" in line]
    assert len(exemplars) == 1
    assert exemplars[0].startswith('recmesh_request_seconds_bucket{le="')
    assert 'method="as_call",service="as"}' in exemplars[0]
    assert f'# {{trace_id="{TRACE_ID}"}}' in exemplars[0]


def test_the_trace_of_a_request_through_five_processes(trained_shop: Shop, collection: str) -> None:
    user_id = trained_shop.user_ids[0]
    with grpc_receiver() as receiver, running_apart(trained_shop, settings(receiver)) as services:
        wait_until_not_degraded(services["as"].target("as"), services["as"], user_id)
        ask(services["as"], user_id)
        wait_for(receiver, services["as"], 20)

    calls = {"um": UM_CALL, "recall": RECALL_CALL, "rank": RANK_CALL, "cm": CM_CALL}
    parts = stages(collection)
    children = sorted((stage, [(call, [(call, parts[stage])])]) for stage, call in calls.items())
    spans = receiver.trace(TRACE_ID)
    assert tree(spans, CALLER) == [(AS_CALL, children)]
    served = {span.name: span.resource["service.name"] for span in spans if span.kind == "server"}
    assert served == {AS_CALL: "as", **{call: stage for stage, call in calls.items()}}
    called = {span.name: span.attributes for span in spans if span.kind == "client" and span.name in calls.values()}
    assert {name: call["rpc.response.status_code"] for name, call in called.items()} == dict.fromkeys(
        calls.values(), "OK"
    )
    assert all(call["server.address"] == "127.0.0.1" for call in called.values())


def test_no_span_names_a_user_or_an_item(trained_shop: Shop) -> None:
    user_id = trained_shop.user_ids[0]
    with grpc_receiver() as receiver, traced_compact(trained_shop, receiver) as service:
        ask(service, user_id)
        wait_for(receiver, service, 11)

    values = [value for span in receiver.spans for value in (span.name, *span.attributes.values())]
    assert not {value for value in values if isinstance(value, str)} & {*trained_shop.user_ids, *trained_shop.sku_ids}


def without_um(receiver: Receiver) -> list[ReceivedSpan]:
    return [span for span in receiver.spans if span.attributes.get("recmesh.degraded") == ["um"]]


def test_a_degraded_answer_is_kept_although_it_is_not_sampled(trained_shop: Shop) -> None:
    """um is not there; the other processes drop their parts of the request, which were quick and complete."""
    with grpc_receiver() as receiver, running_apart(trained_shop, settings(receiver)) as services:
        user_id = trained_shop.user_ids[0]
        wait_until_not_degraded(services["as"].target("as"), services["as"], user_id)
        services["um"].kill()
        ask(services["as"], user_id, sampled=False)
        wait_until(lambda: bool(without_um(receiver)), services["as"], "the spans")

    request = without_um(receiver)[-1]
    spans = receiver.trace(request.trace_id)
    assert (request.name, request.attributes["recmesh.kept"]) == (AS_CALL, "degraded")
    assert {span.resource["service.name"] for span in spans} == {"as"}
    attempts = [span for span in spans if span.name == UM_CALL]
    assert attempts and all(attempt.failed for attempt in attempts)
    assert {attempt.attributes["error.type"] for attempt in attempts} == {"UNAVAILABLE"}
