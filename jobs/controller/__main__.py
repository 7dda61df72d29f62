"""`python -m jobs.controller`: watch the stores of an installation, and start an ingestion if they have lost data."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from jobs.controller.repairs import Repairs
from jobs.controller.settings import ControllerSettings
from jobs.controller.stores import Stores
from recmesh.cli.jobs_api import Jobs
from recmesh.releases import ModelStore
from recmesh.serving import background, run_worker
from recmesh.serving.milvus import open_milvus
from recmesh.serving.redis import open_redis


@asynccontextmanager
async def work(settings: ControllerSettings) -> AsyncIterator[Callable[[], bool]]:
    """Watch the stores during the block."""
    jobs = Jobs(settings.release, settings.namespace)
    async with open_redis(settings) as (redis, _), open_milvus(settings) as milvus:
        repairs = Repairs(Stores(redis, milvus, ModelStore(settings.model_store)), jobs)
        async with background(repairs.follow(settings.check_interval)):
            yield lambda: repairs.ready


if __name__ == "__main__":
    run_worker("controller", ControllerSettings, work)
