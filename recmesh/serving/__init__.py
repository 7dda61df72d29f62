"""The gRPC server that every service runs, and the stages that connect them.

Nothing here imports a store: `redis` and `milvus` are imported by those who open them.
"""

from recmesh.serving.server import Endpoint, background, run
from recmesh.serving.settings import RedisSettings, ReleaseSettings, ServerSettings, load_settings

__all__ = [
    "Endpoint",
    "RedisSettings",
    "ReleaseSettings",
    "ServerSettings",
    "background",
    "load_settings",
    "run",
]
