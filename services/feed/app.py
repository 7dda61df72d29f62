"""The endpoint of feed, and what applies the log."""

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from recmesh.pb import feed_pb2
from recmesh.serving import Endpoint, background
from recmesh.serving.health import Check, every
from recmesh.serving.redis import open_redis
from recmesh.stores.counts import ActionCounts
from recmesh.stores.editor import Editor
from recmesh.stores.keys import Keys
from recmesh.stores.log import Log
from recmesh.stores.redis_client import open_client
from services.feed.applier import Applier
from services.feed.core import FeedCore
from services.feed.current_rules import LatestRules
from services.feed.servicer import FeedServicer
from services.feed.settings import FeedSettings


def endpoint(port: int, core: FeedCore, check: Check, http_port: int = 0) -> Endpoint:
    """feed.FeedService on a port, and over HTTP on `http_port` unless that is 0."""
    descriptor = feed_pb2.DESCRIPTOR.services_by_name["FeedService"]
    return Endpoint("feed", port, descriptor, FeedServicer(core).methods, check, http_port=http_port)


@asynccontextmanager
async def build(settings: FeedSettings) -> AsyncIterator[Sequence[Endpoint]]:
    """Serve feed, and apply the streams that no other process applies."""
    url, credentials, timeout = settings.redis_url, settings.redis_credentials, settings.default_timeout
    keys = Keys.of(settings.redis_prefix)
    async with AsyncExitStack() as stack:
        _, redis_check = await stack.enter_async_context(open_redis(settings))
        calls = await stack.enter_async_context(open_client(url, credentials, settings.redis_pool, timeout))
        applying = await stack.enter_async_context(open_client(url, credentials, 1, timeout))
        rules = LatestRules(Editor(calls, keys), keys)
        entries, editor = Log(applying, keys, settings.event_window), Editor(applying, keys)
        applier = Applier(entries, editor, ActionCounts(applying, keys), keys, uuid.uuid4().hex)
        stack.push_async_callback(applier.leave)
        await stack.enter_async_context(background(rules.follow()))
        await stack.enter_async_context(background(applier.follow()))
        core = FeedCore(Log(calls, keys, settings.event_window), rules)
        check = every(redis_check, rules.check)
        yield [endpoint(settings.feed_port, core, check, settings.feed_http_port)]
