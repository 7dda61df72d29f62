"""The gRPC server that every service runs, and the stages that connect them."""

from recmesh.serving.dependencies import open_redis
from recmesh.serving.server import Endpoint, background, run
from recmesh.serving.settings import RedisSettings, ReleaseSettings, ServerSettings, load_settings

__all__ = [
    "Endpoint",
    "RedisSettings",
    "ReleaseSettings",
    "ServerSettings",
    "background",
    "load_settings",
    "open_redis",
    "run",
]
