"""Settings of um."""

from recmesh.serving import RedisSettings


class UmSettings(RedisSettings):
    """um needs Redis and nothing else."""
