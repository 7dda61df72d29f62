"""Up to which position the pods of one ingestion read the archive of feed's log."""

import json
import os
from collections.abc import Mapping

from jobs.ingest.shard import Shard
from recmesh.dataset.archive import Archive
from recmesh.errors import SettingsError
from recmesh.stores.redis import RedisWriter

_POSITIONS = "positions"


def known_log(
    archive: str, redis: RedisWriter, shard: Shard, environment: Mapping[str, str] = os.environ
) -> Mapping[str, str] | None:
    """Agree with the other pods of this ingestion on the position in each stream up to which they read the archive.

    The archive may grow before the last pod starts, but all of them must load the same data. The first one decides.

    Args:
        archive: URL of the archive; empty for none.
        redis: Where the pods agree.
        shard: The share of this pod.
        environment: JOB_UID has the same value for all pods of an ingestion, and another one for each ingestion.

    Returns:
        The positions; None if this pod is alone, and may read everything.

    Raises:
        SettingsError: JOB_UID is missing.
    """
    if not archive or shard.count == 1:
        return None
    ingestion = environment.get("JOB_UID", "")
    if not ingestion:
        raise SettingsError(
            "JOB_UID is missing: with an archive and several pods, set it to a value that is new for each ingestion"
        )
    own = json.dumps(Archive(archive).positions())
    agreed: dict[str, str] = json.loads(redis.set_once(redis.keys.ingest("archive"), ingestion, _POSITIONS, own))
    return agreed
