"""The endpoint of cm, which `python -m services.cm` and compact serve."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from recmesh.pb import cm_pb2
from recmesh.serving import Endpoint
from recmesh.serving.health import Check
from recmesh.serving.redis import open_redis
from services.cm.core import CmCore
from services.cm.servicer import CmServicer
from services.cm.settings import CmSettings


def endpoint(port: int, core: CmCore, check: Check) -> Endpoint:
    """cm.CMService on a port."""
    descriptor = cm_pb2.DESCRIPTOR.services_by_name["CMService"]
    return Endpoint("cm", port, descriptor, {"cm_call": CmServicer(core).cm_call}, check)


@asynccontextmanager
async def build(settings: CmSettings) -> AsyncIterator[Sequence[Endpoint]]:
    """Serve cm with its own Redis pool."""
    async with open_redis(settings) as (reader, check):
        yield [endpoint(settings.cm_port, CmCore(reader), check)]
