"""Settings of compact: those of all five services."""

from importlib import import_module
from typing import Any

from services.cm.settings import CmSettings
from services.rank.settings import RankSettings
from services.recall.settings import RecallSettings
from services.um.settings import UmSettings

_as_settings: Any = import_module("services.as.settings")


class CompactSettings(UmSettings, CmSettings, RecallSettings, RankSettings, _as_settings.ChainSettings):  # type: ignore[misc]
    """One value for all where several services have the same setting."""
