"""recall reads the fields of items from a real Redis, with those that no model reads and those with several values."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from recmesh.conditions import Condition
from recmesh.errors import InvalidRequest, Unavailable
from recmesh.features import Catalogue, Encoder
from recmesh.features.spec import Field
from recmesh.stores.credentials import NO_CREDENTIALS
from recmesh.stores.editor import Editor
from recmesh.stores.keys import Keys
from recmesh.stores.redis import RedisReader, RedisWriter
from recmesh.stores.redis_client import open_client
from recmesh.stores.wire import item_encoder
from services.recall.item_fields import ItemFields
from services.recall.live_items import LiveItems
from services.recall.new_items import LatestNewItems
from tests.servers import RedisServer

KEYS = Keys.of("fields:")
ENCODE = item_encoder(("cate", "price", "genres", "title"))
SKUS = ("a", "b", "c", "d", "00123")
FIELDS = (
    Field(name="cate", kind="categorical"),
    Field(name="price", kind="numeric"),
    Field(name="genres", kind="multi", separator="|", width=2),
)
ROWS = (
    ("a", "tea", "3", "green|cold", "Sencha, 100 g"),
    ("b", "tea", "12.5", "black", "Assam"),
    ("c", "tools", "7", None, "Tea tin"),
    ("d", "tools", "-1", "cold", None),  # -1 means "missing" in this data set
)


@pytest.fixture
async def stored(redis_server: RedisServer) -> AsyncIterator[tuple[RedisWriter, RedisReader, Encoder]]:
    """Four of the five items of a release, in which genres is a field with several values."""
    writer, reader = RedisWriter(redis_server.url, keys=KEYS), RedisReader(redis_server.url, keys=KEYS)
    writer.write({KEYS.item(row[0] or ""): ENCODE(row) for row in ROWS})
    writer.set_fields(KEYS.latest_ingestion, {"time": 1})
    catalogue = Catalogue.build(SKUS, [], np.empty((len(SKUS), 0), np.float32))
    encoder: Any = SimpleNamespace(catalogue=catalogue, spec=SimpleNamespace(item_fields=FIELDS, missing=("", "-1")))
    yield writer, reader, encoder
    await reader.close()
    writer.delete(list(writer.scan("fields:*")))
    writer.close()


def passing(fields: ItemFields, text: str) -> list[str]:
    allowed = fields.select([Condition.parse(text)]).allowed
    return [SKUS[item] for item in np.flatnonzero(allowed)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cate=tea", "a b"),
        ("price<=7", "a c"),
        ("price!=3", "b c d"),
        ("genres=cold", "a d"),
        ("genres!=cold", "b c"),
        ('title="Sencha, 100 g",Assam', "a b"),
        ("title!=Assam", "a c d"),
        ("sku_id=00123,d", "d"),  # 00123 is not offered
    ],
)
async def test_conditions_hold_for_all_kinds_of_fields(
    stored: tuple[RedisWriter, RedisReader, Encoder], text: str, expected: str
) -> None:
    _, reader, made = stored
    fields = ItemFields(made, LatestNewItems(made))
    await fields.refresh(reader)
    assert passing(fields, text) == expected.split()
    with pytest.raises(InvalidRequest, match="use one of sku_id, cate, genres, price, title"):
        passing(fields, "color=red")


async def test_changes_and_ingestions_are_followed(
    stored: tuple[RedisWriter, RedisReader, Encoder], redis_server: RedisServer
) -> None:
    writer, reader, made = stored
    fields = ItemFields(made, LatestNewItems(made))
    await fields.refresh(reader)
    writer.write({KEYS.item("c"): ENCODE(("c", "tea", "7", "cold", None))})
    writer.delete([KEYS.item("a")])
    async with open_client(redis_server.url, NO_CREDENTIALS, 1, 5.0) as client:
        await Editor(client, KEYS).note_items(["c", "a"])
    await fields.refresh(reader)
    assert (passing(fields, "cate=tea"), passing(fields, "genres=cold")) == (["b", "c"], ["c", "d"])
    writer.write({KEYS.item("00123"): ENCODE(("00123", "tea", "1", None, None))})
    writer.set_fields(KEYS.latest_ingestion, {"time": 2})
    await fields.refresh(reader)
    assert passing(fields, "cate=tea") == ["b", "c", "00123"]


async def test_what_redis_has_lost_stays_known_until_the_next_ingestion(
    stored: tuple[RedisWriter, RedisReader, Encoder], redis_server: RedisServer
) -> None:
    writer, reader, made = stored
    fields, live = ItemFields(made, LatestNewItems(made)), LiveItems()
    async with open_client(redis_server.url, NO_CREDENTIALS, 1, 5.0) as client:
        editor = Editor(client, KEYS)
        for _ in range(3):
            await editor.note_items(["a", "b"])
        await fields.refresh(reader)
        await live.refresh(reader)
        writer.delete(list(writer.scan("fields:*")))

        with pytest.raises(Unavailable, match="Redis has no data set"):
            await fields.refresh(reader)
        assert passing(fields, "cate=tea") == ["a", "b"], "an empty list would look like a shop that has none"
        started_later = ItemFields(made, LatestNewItems(made))
        with pytest.raises(Unavailable, match="Redis has no data set"):
            await started_later.refresh(reader)
        with pytest.raises(Unavailable, match="the fields of the items are not read yet"):
            passing(started_later, "cate=tea")

        writer.write({KEYS.item("c"): ENCODE(("c", "tea", "7", None, None))})
        writer.set_fields(KEYS.latest_ingestion, {"time": 3})
        await editor.note_items(["c"])
        await fields.refresh(reader)
        assert passing(fields, "cate=tea") == ["c"]
        await live.refresh(reader)
        assert "c" in live.latest.offered, "the numbers of changes grow although Redis has lost the earlier ones"
