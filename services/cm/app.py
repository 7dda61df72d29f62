"""cm as an endpoint: what `python -m services.cm` serves, and compact as well."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from recmesh.pb import cm_pb2
from recmesh.serving import Endpoint, open_redis
from recmesh.serving.tracing import Tracer
from recmesh.stores.redis import RedisReader
from services.cm.core import CmCore
from services.cm.servicer import CmServicer
from services.cm.settings import CmSettings


def endpoint(port: int, core: CmCore, reader: RedisReader) -> Endpoint:
    """cm.CMService on a port; it serves while Redis answers."""
    servicer = CmServicer(core)
    descriptor = cm_pb2.DESCRIPTOR.services_by_name["CMService"]
    return Endpoint("cm", port, descriptor, {"cm_call": servicer.cm_call}, reader.ping)


@asynccontextmanager
async def build(settings: CmSettings, _tracer: Tracer) -> AsyncIterator[Sequence[Endpoint]]:
    """cm over its own Redis pool."""
    async with open_redis(settings) as reader:
        yield [endpoint(settings.cm_port, CmCore(reader), reader)]
