"""The endpoint of the gateway, which `python -m services.rank.paddle_serving` serves."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from recmesh.contract import MAX_STAGE_REQUEST_BYTES
from recmesh.pb import pipeline_service_pb2
from recmesh.releases import ModelStore
from recmesh.serving import Endpoint, background
from recmesh.serving.rpc import Method
from services.rank.paddle_serving.fleet import remove_stale_folders
from services.rank.paddle_serving.gateway import Gateway
from services.rank.paddle_serving.releases import SERVICE, ServedReleases
from services.rank.paddle_serving.settings import PaddleServingSettings


@asynccontextmanager
async def build(settings: PaddleServingSettings) -> AsyncIterator[Sequence[Endpoint]]:
    """Serve the gateway with the pipelines of the active release."""
    remove_stale_folders()
    releases = ServedReleases(ModelStore(settings.model_store), settings)
    descriptor = pipeline_service_pb2.DESCRIPTOR.services_by_name["PipelineService"]
    methods: dict[str, Method] = {"inference": Gateway(releases).inference}
    async with background(releases.follow()):
        yield [
            Endpoint(
                SERVICE, settings.paddle_serving_port, descriptor, methods, releases.check, MAX_STAGE_REQUEST_BYTES
            )
        ]
