"""Settings of cm."""

from recmesh.serving import RedisSettings


class CmSettings(RedisSettings):
    """Nothing beyond Redis."""
