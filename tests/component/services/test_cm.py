"""cm over gRPC."""

import asyncio

import grpc
import pytest

from recmesh.contract import FAILED, OK
from recmesh.pb.cm_pb2 import CMRequest, CMResponse
from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.stores.redis import RedisWriter
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


def test_too_many_ids_are_refused(cm: Service) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        look_up(cm, *map(str, range(2_001)))
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert raised.value.details() == "item_ids has 2,001 entries: at most 2,000"


def test_the_error_for_many_ids_is_short(cm: Service) -> None:
    answer = look_up(cm, *(f"no-{number}" for number in range(2_000)))

    assert answer.error.code == FAILED
    assert len(answer.error.text) < 700


@pytest.mark.parametrize("value", [b"\xff\xff\xff", b"", ItemInfo(sku_id="9998").SerializeToString()])
def test_a_damaged_item_is_left_out_and_counted(value: bytes, cm: Service, shop: RedisServer) -> None:
    writer = RedisWriter(shop.url)
    writer.write({writer.keys.item("9999"): value})
    series = 'recmesh_damaged_values_total{kind="item"}'
    before = cm.metrics().get(series, 0.0)
    try:
        answer = look_up(cm, "1", "9999", "2")
    finally:
        writer.delete([writer.keys.item("9999")])
        writer.close()

    assert [item.sku_id for item in answer.item_infos] == ["1", "2"]
    assert list(answer.missing_ids) == ["9999"]
    assert cm.metrics()[series] == before + 1
