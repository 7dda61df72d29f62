"""Settings of as."""

from pydantic import Field, PositiveFloat, PositiveInt

from recmesh.serving import ServerSettings


class ChainSettings(ServerSettings):
    """`candidates`: how many recall is asked for. `popular_refresh`: seconds between two looks at the popular list."""

    candidates: PositiveInt = Field(400, le=1_000)
    popular_refresh: PositiveFloat = 30.0


class AsSettings(ChainSettings):
    """Where the stages are; empty: on this machine, at their ports."""

    um_target: str = ""
    cm_target: str = ""
    recall_target: str = ""
    rank_target: str = ""

    @property
    def targets(self) -> dict[str, str]:
        """The gRPC target of each stage."""
        return {
            "um": self.um_target or f"127.0.0.1:{self.um_port}",
            "recall": self.recall_target or f"127.0.0.1:{self.recall_port}",
            "rank": self.rank_target or f"127.0.0.1:{self.rank_port}",
            "cm": self.cm_target or f"127.0.0.1:{self.cm_port}",
        }
