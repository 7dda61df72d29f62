"""Settings of recall."""

from pydantic import PositiveFloat

from recmesh.serving import ReleaseSettings


class RecallSettings(ReleaseSettings):
    """`channel_timeout`: seconds that the channel in Milvus has at most; the others are in memory."""

    milvus_uri: str = "http://127.0.0.1:19530"
    channel_timeout: PositiveFloat = 0.5
