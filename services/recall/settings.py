"""Settings of recall."""

from pydantic import PositiveFloat

from recmesh.contract import DEFAULT_MILVUS_URI
from recmesh.serving import ReleaseSettings


class RecallSettings(ReleaseSettings):
    """Settings of recall.

    Attributes:
        channel_timeout: The limit for the search in Milvus, in seconds. The other channels run in memory.
    """

    milvus_uri: str = DEFAULT_MILVUS_URI
    channel_timeout: PositiveFloat = 0.5
