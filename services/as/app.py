"""The endpoint of as over four remote stages, which `python -m services.as` serves."""

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from recmesh.chain.active_rules import ActiveRules
from recmesh.chain.answer_log import open_answer_log
from recmesh.chain.chain import Chain
from recmesh.chain.popular import PopularList
from recmesh.chain.servicer import endpoint
from recmesh.contract import ServiceName
from recmesh.errors import Unavailable
from recmesh.releases import ModelStore
from recmesh.serving import Endpoint, background
from recmesh.serving.channels import open_channel
from recmesh.serving.health import Check, every, once
from recmesh.serving.stages import RemoteCandidateStage, RemoteItemStage, RemoteRankStage, RemoteUserStage

from .settings import AsSettings

# as starts without a stage that stays unavailable for longer: it can answer without it.
_MAX_WAIT_SECONDS = 60.0
_HEALTH_TIMEOUT_SECONDS = 0.5


@asynccontextmanager
async def build(settings: AsSettings) -> AsyncIterator[Sequence[Endpoint]]:
    """Serve as with four remote stages."""
    targets, tls = settings.targets, settings.tls
    async with AsyncExitStack() as stack:
        channels = {
            stage: await stack.enter_async_context(open_channel(target, tls)) for stage, target in targets.items()
        }
        candidates = RemoteCandidateStage(channels["recall"], targets["recall"])
        popular, rules = PopularList(candidates), ActiveRules()
        chain = Chain(
            RemoteUserStage(channels["um"], targets["um"]),
            candidates,
            RemoteRankStage(channels["rank"], targets["rank"]),
            RemoteItemStage(channels["cm"], targets["cm"]),
            popular,
            settings.candidates,
            rules=rules,
        )
        await stack.enter_async_context(background(popular.follow(settings.popular_refresh)))
        store = ModelStore(settings.model_store)
        await stack.enter_async_context(background(rules.follow(store, settings.rules_poll)))
        log = await stack.enter_async_context(open_answer_log(settings))
        check = every(popular.check, rules.check, once(_all_serving(channels)))
        yield [endpoint(settings.as_port, chain, check, log, settings.as_http_port)]


def _all_serving(channels: Mapping[ServiceName, grpc.aio.Channel]) -> Check:
    """A check that passes once every stage serves, and in any case after `_MAX_WAIT_SECONDS`."""
    wait_until = time.monotonic() + _MAX_WAIT_SECONDS

    async def check() -> None:
        for stage, channel in channels.items():
            stub = health_pb2_grpc.HealthStub(channel)
            try:
                await stub.Check(health_pb2.HealthCheckRequest(), timeout=_HEALTH_TIMEOUT_SECONDS)
            except grpc.aio.AioRpcError as error:
                if time.monotonic() < wait_until:
                    raise Unavailable(f"{stage} does not serve yet: {error.code().name}") from error

    return check
