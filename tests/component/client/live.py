"""A real feed over a real Redis, with um and cm to look at what it changed."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from recmesh.client import AnswerFailed, Item, Targets, sync
from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.stores.log import STREAMS
from recmesh.stores.redis import RedisWriter
from recmesh.stores.rules import Rules
from tests.processes import Service, running
from tests.servers import RedisServer, running_redis
from tests.waiting import eventually

RULES = Rules(
    user_fields={"age": "categorical", "city": "categorical", "income": "numeric"},
    item_fields={"brand": "categorical", "cate": "categorical", "price": "numeric"},
    action_types=("order", "cart", "view"),
)


@dataclass(frozen=True)
class LiveMesh:
    """feed, um and cm over one Redis, which has the rules of a data set and the item i1."""

    redis: RedisServer
    feed: Service
    targets: Targets

    def logged(self) -> int:
        """Number of entries in feed's log."""
        writer = RedisWriter(self.redis.url)
        try:
            return sum(len(list(writer.stream(writer.keys.log(stream, "entries")))) for stream in STREAMS)
        finally:
            writer.close()

    def actions(self, user_id: str) -> list[tuple[str, int, str, float]]:
        """The history, newest first: item, time, type, value."""
        with sync.Mesh(self.targets) as mesh, contextlib.suppress(AnswerFailed):
            history = mesh.um(user_id).history
            return list(zip(history.sku_ids, history.times, history.types, history.values, strict=True))
        return []

    def profile(self, user_id: str) -> dict[str, str] | None:
        """The profile; None if there is no such user."""
        with sync.Mesh(self.targets) as mesh, contextlib.suppress(AnswerFailed):
            return dict(mesh.um(user_id).profile)
        return None

    def item(self, sku_id: str) -> Item | None:
        """The item; None if it is not offered."""
        with sync.Mesh(self.targets) as mesh, contextlib.suppress(AnswerFailed):
            return mesh.cm([sku_id]).found[0]
        return None

    def has_actions(self, user_id: str, expected: Sequence[tuple[str, int, str, float]]) -> None:
        """Wait until a history is as expected."""
        eventually(lambda: self.actions(user_id) == list(expected), lambda: self.actions(user_id))

    def has_profile(self, user_id: str, expected: dict[str, str] | None) -> None:
        """Wait until a profile is as expected."""
        eventually(lambda: self.profile(user_id) == expected, lambda: self.profile(user_id))

    def offers(self, sku_id: str, expected: Item | None) -> None:
        """Wait until an item is as expected."""
        eventually(lambda: self.item(sku_id) == expected, lambda: self.item(sku_id))


@contextlib.contextmanager
def running_live_mesh() -> Iterator[LiveMesh]:
    """Run the mesh during the block."""
    with running_redis() as redis:
        writer = RedisWriter(redis.url)
        keys = writer.keys
        writer.write({keys.schema: RULES.model_dump_json().encode()})
        writer.write({keys.item("i1"): ItemInfo(sku_id="i1", brand="b").SerializeToString()})
        writer.close()
        variables = {"RECMESH_REDIS_URL": redis.url}
        with running("feed", variables) as feed, running("um", variables) as um, running("cm", variables) as cm:
            targets = Targets({"feed": feed.target("feed"), "um": um.target("um"), "cm": cm.target("cm")})
            yield LiveMesh(redis, feed, targets)
