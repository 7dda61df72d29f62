"""Settings of as."""

from recmesh.chain.settings import ChainSettings
from recmesh.contract import ServiceName


class AsSettings(ChainSettings):
    """The targets of the stages. An empty target means this machine and the port of the service."""

    um_target: str = ""
    cm_target: str = ""
    recall_target: str = ""
    rank_target: str = ""

    @property
    def targets(self) -> dict[ServiceName, str]:
        """The gRPC target of each stage."""
        return {
            "um": self.um_target or f"127.0.0.1:{self.um_port}",
            "recall": self.recall_target or f"127.0.0.1:{self.recall_port}",
            "rank": self.rank_target or f"127.0.0.1:{self.rank_port}",
            "cm": self.cm_target or f"127.0.0.1:{self.cm_port}",
        }
