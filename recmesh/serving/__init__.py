"""The gRPC server that every service runs, and the stages that connect the services.

Nothing here imports a store, except `redis` and `milvus`, which only services that need a store import.
"""

from recmesh.serving.endpoint import Endpoint
from recmesh.serving.server import background, run, run_worker
from recmesh.serving.settings import RedisSettings, ReleaseSettings, ServerSettings
from recmesh.settings import load_settings

__all__ = [
    "Endpoint",
    "RedisSettings",
    "ReleaseSettings",
    "ServerSettings",
    "background",
    "load_settings",
    "run",
    "run_worker",
]
