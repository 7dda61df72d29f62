"""The endpoint of um, which `python -m services.um` and compact serve."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from recmesh.pb import um_pb2
from recmesh.serving import Endpoint, background, ingestion_facts
from recmesh.serving.health import Check
from recmesh.serving.redis import open_redis
from services.um.core import UmCore
from services.um.servicer import UmServicer
from services.um.settings import UmSettings


def endpoint(port: int, core: UmCore, check: Check) -> Endpoint:
    """um.UMService on a port."""
    descriptor = um_pb2.DESCRIPTOR.services_by_name["UMService"]
    return Endpoint("um", port, descriptor, {"um_call": UmServicer(core).um_call}, check)


@asynccontextmanager
async def build(settings: UmSettings) -> AsyncIterator[Sequence[Endpoint]]:
    """Serve um with its own Redis pool."""
    async with open_redis(settings) as (reader, check), background(ingestion_facts.follow(reader)):
        yield [endpoint(settings.um_port, UmCore(reader), check)]
