"""Settings of the chain, which `as` and compact share."""

from pydantic import Field, PositiveFloat, PositiveInt

from recmesh.contract import CHAIN_CANDIDATES, MAX_CANDIDATES
from recmesh.serving import ServerSettings


class ChainSettings(ServerSettings):
    """Settings of the chain.

    Attributes:
        candidates: Number of candidates that recall is asked for.
        popular_refresh: Seconds between two refreshes of the popular list.
    """

    candidates: PositiveInt = Field(CHAIN_CANDIDATES, le=MAX_CANDIDATES)
    popular_refresh: PositiveFloat = 30.0
