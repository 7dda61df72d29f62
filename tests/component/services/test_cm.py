"""cm over gRPC."""

import asyncio

import grpc

from recmesh.contract import FAILED, OK
from recmesh.pb.cm_pb2 import CMRequest, CMResponse
from tests.calls import CM
from tests.component.services.conftest import ITEMS
from tests.processes import Service, running
from tests.servers import RedisServer

CALLS = 256
CONNECTIONS = 8


def look_up(service: Service, *ids: str) -> CMResponse:
    return CM.call(service.target("cm"), CMRequest(item_ids=ids))


def test_items_are_in_the_order_of_the_request(cm: Service) -> None:
    answer = look_up(cm, "3", "1", "2", "3")

    assert answer.error.code == OK
    assert list(answer.item_infos) == [ITEMS["3"], ITEMS["1"], ITEMS["2"], ITEMS["3"]]
    assert not answer.missing_ids


def test_a_partial_miss_is_not_a_failure(cm: Service) -> None:
    answer = look_up(cm, "1", "nothing", "2", "00123")

    assert answer.error.code == OK
    assert [item.sku_id for item in answer.item_infos] == ["1", "2"]
    assert list(answer.missing_ids) == ["nothing", "00123"]


def test_if_no_item_exists_the_error_names_the_ids(cm: Service) -> None:
    answer = look_up(cm, "1324142525")

    assert answer.error.code == FAILED
    assert answer.error.text == 'CM server get item_info from redis fail. (item_ids: "1324142525"\n)'
    assert list(answer.missing_ids) == ["1324142525"]


def test_calls_beyond_the_connection_pool_wait_or_are_refused(shop: RedisServer) -> None:
    """256 simultaneous calls share 8 connections: each is answered or gets RESOURCE_EXHAUSTED."""
    ids = [str(n) for n in range(1, 101)]

    async def burst(target: str) -> list[CMResponse | BaseException]:
        async with grpc.aio.insecure_channel(target) as channel:
            method = CM.on_aio(channel)
            calls = (method(CMRequest(item_ids=ids), timeout=20) for _ in range(CALLS))
            return await asyncio.gather(*calls, return_exceptions=True)

    settings = {
        "RECMESH_REDIS_URL": shop.url,
        "RECMESH_REDIS_POOL": str(CONNECTIONS),
        "RECMESH_DEFAULT_TIMEOUT": "20",
    }
    with running("cm", settings) as service:
        answers = asyncio.run(burst(service.target("cm")))
        after = look_up(service, *ids)
        log = service.log.read_text()

    refused = [answer.code() for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
    assert set(refused) <= {grpc.StatusCode.RESOURCE_EXHAUSTED}
    answered = [answer for answer in answers if isinstance(answer, CMResponse)]
    assert len(answered) + len(refused) == CALLS
    assert all(answer.error.code == OK and len(answer.item_infos) == len(ids) for answer in answered)
    assert len(answered) > CONNECTIONS
    assert after.error.code == OK
    assert "Traceback" not in log and '"exception"' not in log
