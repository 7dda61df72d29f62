"""Settings of the chain, which `as` and compact share."""

from pathlib import Path

from pydantic import Field, PositiveFloat, PositiveInt

from recmesh.contract import CHAIN_CANDIDATES, DEFAULT_HOME, DEFAULT_MODEL_STORE, MAX_CANDIDATES
from recmesh.serving import ServerSettings
from recmesh.serving.settings import Ratio


class ChainSettings(ServerSettings):
    """Settings of the chain.

    Attributes:
        candidates: Number of candidates that recall is asked for.
        popular_refresh: Seconds between two refreshes of the popular list.
        model_store: An fsspec URL, for the rules.
        rules_poll: Seconds between two checks for newer rules.
        home: Folder of the service.
        answer_sample: Share of the answers that are logged.
        answer_log: Folder for them; None means `answers` in `home`.
        answer_log_mib: Limit for the sizes of the files in that folder, in MiB. The oldest ones are deleted.
    """

    candidates: PositiveInt = Field(CHAIN_CANDIDATES, le=MAX_CANDIDATES)
    popular_refresh: PositiveFloat = 30.0
    model_store: str = DEFAULT_MODEL_STORE
    rules_poll: PositiveFloat = 1.0
    home: Path = Path(DEFAULT_HOME)
    answer_sample: Ratio = 0.0
    answer_log: Path | None = None
    answer_log_mib: PositiveInt = 256
