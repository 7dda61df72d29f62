"""cm as an endpoint: what `python -m services.cm` serves, and compact as well."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from recmesh.pb import cm_pb2
from recmesh.serving import Endpoint
from recmesh.serving.health import Check
from recmesh.serving.redis import open_redis
from recmesh.serving.tracing import Tracer
from services.cm.core import CmCore
from services.cm.servicer import CmServicer
from services.cm.settings import CmSettings


def endpoint(port: int, core: CmCore, check: Check) -> Endpoint:
    """cm.CMService on a port."""
    servicer = CmServicer(core)
    descriptor = cm_pb2.DESCRIPTOR.services_by_name["CMService"]
    return Endpoint("cm", port, descriptor, {"cm_call": servicer.cm_call}, check)


@asynccontextmanager
async def build(settings: CmSettings, _tracer: Tracer) -> AsyncIterator[Sequence[Endpoint]]:
    """cm over its own Redis pool."""
    async with open_redis(settings) as (reader, check):
        yield [endpoint(settings.cm_port, CmCore(reader), check)]
