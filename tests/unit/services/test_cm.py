"""cm looks items up, and leaves damaged ones out."""

from collections.abc import Sequence
from typing import Any

import pytest

from recmesh.errors import DeadlineExceeded, InvalidRequest
from recmesh.pb.cm_pb2 import CMRequest, CMResponse
from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.serving import deadline
from services.cm.core import CmCore
from services.cm.servicer import CmServicer
from tests.unit.clock import Clock
from tests.unit.metric import added
from tests.unit.services.hanging import Hanging

A, B = (ItemInfo(sku_id=sku_id, cate="tea") for sku_id in "ab")


class _Redis:
    """Holds a and b, something else under d, and garbage under e."""

    async def get_items(self, sku_ids: Sequence[str]) -> list[bytes | None]:
        values = {"a": A, "b": B, "d": A}
        stored = {name: item.SerializeToString() for name, item in values.items()} | {"e": b"\xff"}
        return [stored.get(sku_id) for sku_id in sku_ids]


async def test_items_come_in_the_order_of_the_ids_and_damaged_ones_are_left_out_and_counted() -> None:
    damaged = added("recmesh_damaged_values_total", kind="item")
    found = await CmCore(_Redis()).get(["b", "c", "a", "d", "e"], 1.0)
    assert found == [B.SerializeToString(), None, A.SerializeToString(), None, None]
    assert damaged() == 2


async def test_redis_has_the_time_of_the_request() -> None:
    with pytest.raises(DeadlineExceeded, match="Redis did not answer within 10 ms"):
        await CmCore(Hanging()).get(["a"], 0.01)


async def _answered(monkeypatch: pytest.MonkeyPatch, *ids: str) -> CMResponse:
    Clock(monkeypatch, "recmesh.serving.deadline")
    deadline.start(0.75)
    answer = await CmServicer(CmCore(_Redis())).cm_call(CMRequest(item_ids=ids), None)
    return CMResponse.FromString(answer.SerializeToString())


async def test_items_on_the_wire(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = await _answered(monkeypatch, "b", "c", "a")
    assert answer == CMResponse(error={"code": 200}, item_infos=[B, A], missing_ids=["c"])
    assert await _answered(monkeypatch) == CMResponse(error={"code": 200})


async def test_if_none_exists_that_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = await _answered(monkeypatch, "x", "y")
    text = 'CM server get item_info from redis fail. (item_ids: "x"\nitem_ids: "y"\n)'
    assert answer == CMResponse(error={"code": 500, "text": text}, missing_ids=["x", "y"])


async def test_the_core_has_the_time_of_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Sequence[str], float]] = []

    class Core:
        async def get(self, sku_ids: Sequence[str], timeout: float) -> list[bytes | None]:
            asked.append((list(sku_ids), timeout))
            return [A.SerializeToString()]

    Clock(monkeypatch, "recmesh.serving.deadline")
    deadline.start(0.75)
    core: Any = Core()
    await CmServicer(core).cm_call(CMRequest(item_ids=["a"]), None)
    assert asked == [(["a"], 0.75)]


@pytest.mark.parametrize(
    ("ids", "fault"),
    [
        (["x"] * 2_001, "item_ids has 2,001 entries: at most 2,000"),
        (["a", "x" * 129], "item_ids: an id has 129 bytes: at most 128"),
    ],
)
async def test_requests_beyond_the_limits_are_refused(
    monkeypatch: pytest.MonkeyPatch, ids: Sequence[str], fault: str
) -> None:
    with pytest.raises(InvalidRequest, match=fault):
        await _answered(monkeypatch, *ids)
