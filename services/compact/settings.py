"""Settings of compact: those of all five services."""

from recmesh.chain.settings import ChainSettings
from services.cm.settings import CmSettings
from services.rank.settings import RankSettings
from services.recall.settings import RecallSettings
from services.um.settings import UmSettings


class CompactSettings(UmSettings, CmSettings, RecallSettings, RankSettings, ChainSettings):
    """Settings that several services have apply to all of them."""
