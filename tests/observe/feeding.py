"""feed under load, for tests of what it shows."""

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
from redis import Redis

from recmesh.pb.feed_pb2 import Action, RecordActionsRequest
from recmesh.stores.keys import Keys
from tests.calls import RECORD_ACTIONS
from tests.processes import Service, running
from tests.servers import RedisServer, running_redis
from tests.shop import Shop

_PAUSE_SECONDS = 0.1


@contextlib.contextmanager
def recording(shop: Shop) -> Iterator[tuple[Service, RedisServer]]:
    """feed, and a caller that records actions during the block and ignores failures.

    Its Redis is its own, in which no item is known, so that the shop stays as it is.
    """
    schema, stop = Keys.of().schema, threading.Event()

    def record_repeatedly(target: str) -> None:
        request = RecordActionsRequest(actions=[Action(user_id="observed", sku_id="unknown")])
        while not stop.wait(_PAUSE_SECONDS):
            with contextlib.suppress(grpc.RpcError):
                RECORD_ACTIONS.call(target, request)

    with running_redis() as server, ThreadPoolExecutor(1) as caller:
        with Redis.from_url(shop.redis.url) as ingested, Redis.from_url(server.url) as own:
            own.set(schema, ingested.get(schema) or b"")
        with running("feed", {**shop.environment, "RECMESH_REDIS_URL": server.url}) as feed:
            calls = caller.submit(record_repeatedly, feed.target("feed"))
            try:
                yield feed, server
            finally:
                stop.set()
            calls.result()
