"""Settings of recall."""

from pydantic import PositiveFloat

from recmesh.serving import RedisSettings, ReleaseSettings
from recmesh.serving.settings import MilvusSettings


class RecallSettings(MilvusSettings, ReleaseSettings, RedisSettings):
    """Settings of recall.

    Attributes:
        channel_timeout: The limit for the search in Milvus, in seconds. The other channels run in memory.
    """

    channel_timeout: PositiveFloat = 0.5
