"""One um and one cm over a Redis with known users and items."""

from collections.abc import Iterator

import pytest

from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.stores.redis import RedisWriter
from recmesh.stores.wire import encode_history, item_encoder, user_encoder
from tests.processes import Service, running
from tests.servers import RedisServer

ITEMS = {str(n): ItemInfo(sku_id=str(n), brand=f"b{n % 7}", cate=f"c{n % 3}", shopid="s") for n in range(1, 301)}


@pytest.fixture(scope="session")
def shop(redis_server: RedisServer) -> RedisServer:
    """A Redis with user 5 (profile and history), user 6 (profile only) and items 1 to 300."""
    writer = RedisWriter(redis_server.url)
    keys = writer.keys
    user = user_encoder(["age", "city", "income"])
    item = item_encoder(["brand", "shopid", "cate"])
    writer.write(
        {
            keys.user("5"): user(["5", "3", "176", "high"]),
            keys.user("6"): user(["6", None, "12", None]),
            keys.history("5"): encode_history(["2", "1"], [2000, 1000], ["cart", "view"], [1.0, 1.0]),
        }
    )
    writer.write({keys.item(sku): item([sku, info.brand, info.shopid, info.cate]) for sku, info in ITEMS.items()})
    writer.close()
    return redis_server


@pytest.fixture(scope="session")
def um(shop: RedisServer) -> Iterator[Service]:
    """um over the shop."""
    with running("um", {"RECMESH_REDIS_URL": shop.url}) as service:
        yield service


@pytest.fixture(scope="session")
def cm(shop: RedisServer) -> Iterator[Service]:
    """cm over the shop."""
    with running("cm", {"RECMESH_REDIS_URL": shop.url}) as service:
        yield service
