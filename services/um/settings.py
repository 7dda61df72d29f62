"""Settings of um."""

from recmesh.serving import RedisSettings


class UmSettings(RedisSettings):
    """Nothing beyond Redis."""
