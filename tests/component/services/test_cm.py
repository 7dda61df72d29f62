"""cm over its wire."""

import asyncio

import grpc

from recmesh.pb.cm_pb2 import CMRequest, CMResponse
from recmesh.pb.cm_pb2_grpc import CMServiceStub
from tests.component.services.conftest import ITEMS
from tests.processes import Service, running
from tests.servers import RedisServer


def ask(service: Service, *ids: str) -> CMResponse:
    with grpc.insecure_channel(service.target("cm")) as channel:
        return CMServiceStub(channel).cm_call(CMRequest(item_ids=ids), timeout=5)


def test_items_come_in_the_order_asked_for(cm: Service) -> None:
    answer = ask(cm, "3", "1", "2", "3")

    assert answer.error.code == 200
    assert list(answer.item_infos) == [ITEMS["3"], ITEMS["1"], ITEMS["2"], ITEMS["3"]]
    assert not answer.missing_ids


def test_a_partial_miss_is_no_failure(cm: Service) -> None:
    answer = ask(cm, "1", "nothing", "2", "00123")

    assert answer.error.code == 200
    assert [item.sku_id for item in answer.item_infos] == ["1", "2"]
    assert list(answer.missing_ids) == ["nothing", "00123"]


def test_nothing_found_is_a_failure_that_names_the_ids(cm: Service) -> None:
    answer = ask(cm, "1324142525")

    assert answer.error.code == 500
    assert answer.error.text == 'CM server get item_info from redis fail. (item_ids: "1324142525"\n)'
    assert list(answer.missing_ids) == ["1324142525"]


def test_a_burst_beyond_the_pool_waits_or_is_told_to_come_later(shop: RedisServer) -> None:
    """C27: 256 calls at once over 8 connections."""
    ids = [str(n) for n in range(1, 101)]

    async def burst(target: str) -> list[CMResponse | BaseException]:
        async with grpc.aio.insecure_channel(target) as channel:
            stub = CMServiceStub(channel)
            calls = (stub.cm_call(CMRequest(item_ids=ids), timeout=20) for _ in range(256))
            return await asyncio.gather(*calls, return_exceptions=True)

    settings = {"RECMESH_REDIS_URL": shop.url, "RECMESH_REDIS_POOL": "8", "RECMESH_DEFAULT_TIMEOUT": "20"}
    with running("cm", settings) as service:
        answers = asyncio.run(burst(service.target("cm")))
        after = ask(service, *ids)
        log = service.log.read_text()

    refused = [a.code() for a in answers if isinstance(a, grpc.aio.AioRpcError)]
    assert set(refused) <= {grpc.StatusCode.RESOURCE_EXHAUSTED}
    answered = [a for a in answers if isinstance(a, CMResponse)]
    assert len(answered) + len(refused) == 256
    assert all(a.error.code == 200 and len(a.item_infos) == 100 for a in answered)
    assert len(answered) > 8
    assert after.error.code == 200
    assert "Traceback" not in log and '"exception"' not in log
