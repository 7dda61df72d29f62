"""Settings of cm."""

from recmesh.serving import RedisSettings


class CmSettings(RedisSettings):
    """cm needs Redis and nothing else."""
