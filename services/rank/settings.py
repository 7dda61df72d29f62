"""Settings of rank."""

from recmesh.serving import ReleaseSettings


class RankSettings(ReleaseSettings):
    """Nothing beyond releases: the ranker runs in process."""
