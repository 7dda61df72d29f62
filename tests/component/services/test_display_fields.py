"""Fields for display: from the files through the ingestion to the answers of um and cm, and to as, byte for byte."""

import csv
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from jobs.ingest.shard import Shard
from jobs.ingest.to_redis import to_redis
from recmesh.contract import OK
from recmesh.dataset import read
from recmesh.pb.cm_pb2 import CMRequest
from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.pb.um_pb2 import UserModelRequest
from recmesh.progress import Reporter
from recmesh.serving import deadline
from recmesh.serving.stages import RemoteItemStage
from recmesh.stores.redis import RedisWriter
from tests.calls import CM, UM
from tests.processes import Service, running
from tests.servers import RedisServer, running_redis

ITEMS = 50
URL = "https://example.org/a b?q=%22ü%22&n=1#x"
# 24 kB each: line breaks, quotes, separators, several scripts, and a character outside the basic plane.
TEXTS = {f"i{n}": f'{n}: "Größe", 价格;\n\tשלום 📚|,' * 600 for n in range(ITEMS)}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis with an ingested data set whose fields are for display only."""
    folder = tmp_path_factory.mktemp("display")
    (folder / "schema.yaml").write_text(
        "user: {id: u, fields: {bio: {kind: display}}}\n"
        "item: {id: i, fields: {text: {kind: display}, url: {kind: display}, brand: {kind: display}}}\n"
        "action: {user: u, item: i, time: t}\n"
    )
    _write(folder / "users.csv", [["u", "bio"], ["1", TEXTS["i7"]], ["2", ""]])
    _write(
        folder / "products.csv", [["i", "text", "url", "brand"], *([i, text, URL, "B"] for i, text in TEXTS.items())]
    )
    _write(folder / "actions.csv", [["u", "i", "t"], ["1", "i0", "2024-01-01"]])
    with running_redis() as server:
        writer = RedisWriter(server.url)
        to_redis(read(folder), writer, Shard(), Reporter())
        writer.close()
        yield server


@pytest.fixture(scope="module")
def cm(shop: RedisServer) -> Iterator[Service]:
    with running("cm", {"RECMESH_REDIS_URL": shop.url}) as service:
        yield service


def _write(path: Path, rows: list[list[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def test_cm_returns_them_as_they_are(cm: Service) -> None:
    answer = CM.call(cm.target("cm"), CMRequest(item_ids=list(TEXTS)))

    assert answer.error.code == OK
    assert answer.ByteSize() > 1_000_000
    expected = [ItemInfo(sku_id=i, brand="B", attributes={"text": text, "url": URL}) for i, text in TEXTS.items()]
    assert list(answer.item_infos) == expected


async def test_as_gets_the_details_of_fifty_items(cm: Service) -> None:
    deadline.start(10)
    async with grpc.aio.insecure_channel(cm.target("cm")) as channel:
        found = await RemoteItemStage(channel).get(list(TEXTS), 10)

    assert [ItemInfo.FromString(item).attributes["text"] for item in found if item] == list(TEXTS.values())


def test_um_returns_those_of_users(shop: RedisServer) -> None:
    with running("um", {"RECMESH_REDIS_URL": shop.url}) as um:
        known, empty = (UM.call(um.target("um"), UserModelRequest(user_id=user)) for user in ("1", "2"))

    assert dict(known.user_info.attributes) == {"bio": TEXTS["i7"]}
    assert not empty.user_info.attributes
