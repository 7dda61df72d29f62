"""Progress of an ingestion, kept in Redis so that a run that was killed can resume."""

from jobs.ingest.shard import Shard
from recmesh.stores.redis import RedisWriter

_REPAIR = "repair"


class Marks:
    """How much of some content has been written to a target, by part and shard.

    A mark is set after its rows are written: after a crash some rows are written twice, but none is left out.

    Args:
        redis: Holds the marks.
        target: Where the content goes.
        owner: Identifies the content. Marks of another owner are discarded, since later writes may have replaced what
            they recorded.
        shard: The share of this run.

    Attributes:
        shard: What this run has to write: its share, or everything after a failed verification.
    """

    def __init__(self, redis: RedisWriter, target: str, owner: str, shard: Shard) -> None:
        self._redis = redis
        self._name = redis.keys.ingest(target)
        redis.claim(self._name, owner)
        self._fields = redis.hash(self._name)
        self.shard = Shard() if self._repairs else shard

    @property
    def current(self) -> bool:
        """Whether all of the content was written and verified."""
        return "current" in self._fields

    @property
    def new(self) -> bool:
        """Whether the target was empty when this content was first written to it."""
        return "new" in self._fields

    @property
    def lost(self) -> bool:
        """Whether nothing is known of this content: it was never written, or Redis has lost the marks."""
        return self._fields.keys() == {"owner"}

    def set_new(self) -> None:
        """Record that the target is empty."""
        self._redis.set_fields(self._name, {"new": 1})
        self._fields["new"] = "1"

    def started(self, part: str) -> bool:
        """Whether an earlier run may have written rows of this shard's share of the part."""
        return self._repairs or self._field(part) in self._fields

    def rows(self, part: str) -> int:
        """Number of rows of the part that this shard is known to have written."""
        return int(self._fields.get(self._field(part), 0))

    def set_rows(self, part: str, rows: int) -> None:
        """Record that this shard has written the first `rows` rows of its share of the part."""
        self._redis.set_fields(self._name, {self._field(part): rows})

    def finish(self) -> bool:
        """Record that this shard has written everything. Returns whether all shards have."""
        self._redis.set_fields(self._name, {self._field("done"): 1})
        fields = self._redis.hash(self._name)
        return all(f"done:{Shard(index, self.shard.count)}" in fields for index in range(self.shard.count))

    def set_current(self) -> None:
        """Record that all of the content was written and verified."""
        self._redis.set_fields(self._name, {"current": 1})
        self._redis.delete_fields(self._name, [_REPAIR])

    def restart(self) -> None:
        """Record that written rows are missing: this run or the next has to write everything again."""
        self._redis.set_fields(self._name, {_REPAIR: 1})
        written = [field for field in self._redis.hash(self._name) if field not in ("owner", _REPAIR)]
        if written:
            self._redis.delete_fields(self._name, written)
        self._fields = self._redis.hash(self._name)
        self.shard = Shard()

    @property
    def _repairs(self) -> bool:
        return _REPAIR in self._fields

    def _field(self, part: str) -> str:
        return f"{part}:{self.shard}"
