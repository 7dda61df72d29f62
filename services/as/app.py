"""as as an endpoint: what `python -m services.as` serves, and compact as well."""

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from recmesh.chain.chain import Chain
from recmesh.chain.popular import PopularList
from recmesh.errors import Unavailable
from recmesh.pb import as_pb2
from recmesh.serving import Endpoint, background
from recmesh.serving.channels import open_channel
from recmesh.serving.health import Check, every, once
from recmesh.serving.stages import RemoteCandidateStage, RemoteItemStage, RemoteRankStage, RemoteUserStage
from recmesh.serving.tracing import Tracer

from .servicer import AsServicer
from .settings import AsSettings

# A stage that is away for longer than this must not keep as from starting: it can answer without.
_PATIENCE = 60.0


def endpoint(port: int, chain: Chain, check: Check) -> Endpoint:
    """as.ASService on a port."""
    servicer = AsServicer(chain)
    descriptor = as_pb2.DESCRIPTOR.services_by_name["ASService"]
    return Endpoint("as", port, descriptor, {"as_call": servicer.as_call}, check)


@asynccontextmanager
async def build(settings: AsSettings, tracer: Tracer) -> AsyncIterator[Sequence[Endpoint]]:
    """The chain over four remote stages."""
    async with AsyncExitStack() as stack:
        channels = {
            stage: await stack.enter_async_context(open_channel(target)) for stage, target in settings.targets.items()
        }
        candidates = RemoteCandidateStage(channels["recall"])
        popular = PopularList(candidates)
        chain = Chain(
            RemoteUserStage(channels["um"]),
            candidates,
            RemoteRankStage(channels["rank"]),
            RemoteItemStage(channels["cm"]),
            popular,
            settings.candidates,
            tracer,
        )
        await stack.enter_async_context(background(popular.follow(settings.popular_refresh)))
        yield [endpoint(settings.as_port, chain, every(popular.check, once(_all_seen(channels))))]


def _all_seen(channels: Mapping[str, grpc.aio.Channel]) -> Check:
    """Passes when every stage serves, or when one keeps us waiting for too long."""
    patient_until = time.monotonic() + _PATIENCE

    async def check() -> None:
        for stage, channel in channels.items():
            try:
                await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=0.5)
            except grpc.aio.AioRpcError as error:
                if time.monotonic() < patient_until:
                    raise Unavailable(f"{stage} does not serve yet: {error.code().name}") from error

    return check
